//! Types with a few values, each with one word: for the bundle's file, the command line, JSON and
//! messages. Pure.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// A type whose values have words.
pub trait Words: Copy + PartialEq + 'static {
    /// Every value and its word, in the order in which messages list them.
    const TABLE: &'static [(Self, &'static str)];

    /// The word of this value.
    fn word(self) -> &'static str {
        Self::TABLE.iter().find(|(value, _)| *value == self).map_or("", |(_, word)| word)
    }

    /// The value with this word.
    fn from_word(word: &str) -> Option<Self> {
        Self::TABLE.iter().find(|(_, known)| *known == word).map(|(value, _)| *value)
    }

    /// All words.
    fn all_words() -> Vec<&'static str> {
        Self::TABLE.iter().map(|(_, word)| *word).collect()
    }

    /// All words, for people: `prefix, json or inherit`.
    fn one_of() -> String {
        let words = Self::all_words().join(", ");
        words
            .rsplit_once(", ")
            .map_or(words.clone(), |(before, last)| format!("{before} or {last}"))
    }
}

/// Writes a value as its word, for serde's derive.
pub(crate) fn serialize<S: Serializer>(
    value: &impl Words,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.word())
}

/// Reads a value by its word.
pub(crate) fn deserialize<'de, T: Words, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let word = String::deserialize(deserializer)?;
    T::from_word(&word)
        .ok_or_else(|| D::Error::custom(format_args!("{word:?} is not {}", T::one_of())))
}

/// Declares types and the words of their values, in the order in which messages list them.
macro_rules! words {
    ($($(#[$about:meta])* pub enum $name:ident { $($(#[$doc:meta])* $value:ident => $word:literal,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$doc])* $value,)*
        }

        impl $crate::words::Words for $name {
            const TABLE: &'static [($name, &'static str)] = &[$(($name::$value, $word)),*];
        }
    )*};
}

pub(crate) use words;
