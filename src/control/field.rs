//! How values are written as JSON, and read again: one trait for both ways, and a macro that makes
//! objects of it, so that who sends and who receives can't mean different fields. Pure.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::signal::Signal;
use crate::words::Words;

/// A value of the protocol.
pub trait Field: Sized {
    /// As JSON; null: it is not known.
    fn encode(&self) -> Value;

    /// From what is at this key.
    fn decode(value: Option<Value>, key: &str) -> Result<Self, String>;
}

/// A structure that is an object in JSON, each field at its key. `null: kept` writes what is not
/// known as null, `null: omitted` leaves it out.
macro_rules! message {
    (
        null: $null:ident;
        $(#[$attribute:meta])*
        pub struct $name:ident {
            $($(#[$field_attribute:meta])* pub $field:ident: $type:ty => $key:literal,)*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$field_attribute])* pub $field: $type,)*
        }

        impl $name {
            /// Adds its fields to an object.
            pub(crate) fn put(&self, object: &mut serde_json::Map<String, serde_json::Value>) {
                $(
                    let value = crate::control::field::Field::encode(&self.$field);
                    if !value.is_null() || stringify!($null) == "kept" {
                        object.insert($key.to_owned(), value);
                    }
                )*
            }

            /// Takes its fields out of an object.
            pub(crate) fn take(
                object: &mut serde_json::Map<String, serde_json::Value>,
            ) -> Result<$name, String> {
                Ok($name {
                    $($field: crate::control::field::Field::decode(object.remove($key), $key)?,)*
                })
            }
        }

        impl crate::control::field::Field for $name {
            fn encode(&self) -> serde_json::Value {
                let mut object = serde_json::Map::new();
                self.put(&mut object);
                object.into()
            }

            fn decode(value: Option<serde_json::Value>, key: &str) -> Result<$name, String> {
                match value {
                    Some(serde_json::Value::Object(mut object)) => $name::take(&mut object),
                    _ => Err(format!("{key:?} is no object")),
                }
            }
        }
    };
}
pub(crate) use message;

impl<T: Words> Field for T {
    fn encode(&self) -> Value {
        self.word().into()
    }

    fn decode(value: Option<Value>, key: &str) -> Result<T, String> {
        let word = String::decode(value, key)?;
        T::from_word(&word).ok_or_else(|| {
            let words: Vec<String> =
                T::all_words().iter().map(|word| format!("{word:?}")).collect();
            format!("{key:?} is {}, not {word:?}", words.join(" or "))
        })
    }
}

/// What has nothing to say.
impl Field for () {
    fn encode(&self) -> Value {
        Map::new().into()
    }

    fn decode(_: Option<Value>, _: &str) -> Result<(), String> {
        Ok(())
    }
}

impl Field for String {
    fn encode(&self) -> Value {
        self.as_str().into()
    }

    fn decode(value: Option<Value>, key: &str) -> Result<String, String> {
        match value {
            Some(Value::String(text)) => Ok(text),
            _ => Err(format!("{key:?} is missing, or no text")),
        }
    }
}

impl Field for bool {
    fn encode(&self) -> Value {
        (*self).into()
    }

    fn decode(value: Option<Value>, key: &str) -> Result<bool, String> {
        match value {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(format!("{key:?} is true or false")),
        }
    }
}

macro_rules! whole_numbers {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn encode(&self) -> Value {
                (*self).into()
            }

            fn decode(value: Option<Value>, key: &str) -> Result<$type, String> {
                let Some(value) = value else { return Ok(0) };
                let number = value.as_u64().and_then(|number| number.try_into().ok());
                number.ok_or_else(|| {
                    format!("{key:?} is a whole number from 0 to {}", <$type>::MAX)
                })
            }
        }
    )*};
}
whole_numbers!(u8 u32 u64);

impl Field for f64 {
    fn encode(&self) -> Value {
        (*self).into()
    }

    fn decode(value: Option<Value>, key: &str) -> Result<f64, String> {
        value.and_then(|value| value.as_f64()).ok_or_else(|| format!("{key:?} is a number"))
    }
}

/// In seconds.
impl Field for Duration {
    fn encode(&self) -> Value {
        self.as_secs_f64().into()
    }

    fn decode(value: Option<Value>, key: &str) -> Result<Duration, String> {
        let seconds = value.and_then(|value| value.as_f64());
        seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(|| format!("{key:?} is a number of seconds"))
    }
}

impl Field for Signal {
    fn encode(&self) -> Value {
        self.to_string().into()
    }

    fn decode(value: Option<Value>, key: &str) -> Result<Signal, String> {
        String::decode(value, key)?.parse::<Signal>().map_err(|error| error.to_string())
    }
}

impl<T: Field> Field for Option<T> {
    fn encode(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::encode)
    }

    fn decode(value: Option<Value>, key: &str) -> Result<Option<T>, String> {
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::decode(Some(value), key).map(Some),
        }
    }
}

impl<T: Field> Field for Vec<T> {
    fn encode(&self) -> Value {
        self.iter().map(T::encode).collect()
    }

    fn decode(value: Option<Value>, key: &str) -> Result<Vec<T>, String> {
        let Some(Value::Array(values)) = value else { return Err(format!("{key:?} is no list")) };
        values.into_iter().map(|value| T::decode(Some(value), key)).collect()
    }
}
