//! The sidecars' image in a real container, with an agent on an internal network and a pretended web
//! behind it.
//!
//! Needs a Docker engine, the image (`make image`, or `IMAGE` names another) and root, whom the
//! operator's files have to belong to. Without engine or image the tests are skipped, loudly; with
//! `CI` set they fail instead.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod attacks;
mod clients;
mod credentials;
#[path = "../containers/docker.rs"]
#[allow(dead_code)]
mod docker;
mod downloads;
mod escapes;
mod examples;
mod git;
mod image;
mod life;
mod privileges;
mod requests;
mod running;
mod signals;
mod volumes;
mod web;
mod world;
