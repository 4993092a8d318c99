//! Reads a bundle from TOML.
