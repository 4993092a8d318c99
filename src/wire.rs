//! Values as bytes, for the way from a child of ours to us. Both are the same program, so there is
//! no version and no name in it. Pure.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

/// A value that can be sent.
pub(crate) trait Wire: Sized {
    /// Appends it.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes it from the front; `None` if something else is there, or too little.
    fn decode(input: &mut &[u8]) -> Option<Self>;
}

/// Sends these fields of a struct, which are all that it has.
macro_rules! wire_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                let $name { $($field),* } = self;
                $($crate::wire::Wire::encode($field, out);)*
            }

            fn decode(input: &mut &[u8]) -> Option<Self> {
                $(let $field = $crate::wire::Wire::decode(input)?;)*
                Some($name { $($field),* })
            }
        }
    };
}

/// Sends the variants of an enum by these numbers.
macro_rules! wire_enum {
    ($name:ident { $($number:literal = $variant:ident $(($($field:ident),*))?),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $($name::$variant $(($($field),*))? => {
                        out.push($number);
                        $($($crate::wire::Wire::encode($field, out);)*)?
                    })*
                }
            }

            fn decode(input: &mut &[u8]) -> Option<Self> {
                match u8::decode(input)? {
                    $($number => {
                        $($(let $field = $crate::wire::Wire::decode(input)?;)*)?
                        Some($name::$variant $(($($field),*))?)
                    })*
                    _ => None,
                }
            }
        }
    };
}

/// Sends the values of these types by their words.
macro_rules! wire_words {
    ($($name:ty),* $(,)?) => {$(
        impl $crate::wire::Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $crate::words::Words::word(*self).to_owned().encode(out);
            }

            fn decode(input: &mut &[u8]) -> Option<Self> {
                $crate::words::Words::from_word(&String::decode(input)?)
            }
        }
    )*};
}

pub(crate) use {wire_enum, wire_struct, wire_words};

macro_rules! wire_numbers {
    ($($number:ty),*) => {$(
        impl Wire for $number {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_ne_bytes());
            }

            fn decode(input: &mut &[u8]) -> Option<Self> {
                let (bytes, rest) = input.split_first_chunk()?;
                *input = rest;
                Some(<$number>::from_ne_bytes(*bytes))
            }
        }
    )*};
}

wire_numbers!(u8, u16, u32, u64, usize, i8, i16, i32);

impl Wire for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Some(u8::decode(input)? != 0)
    }
}

impl Wire for OsString {
    fn encode(&self, out: &mut Vec<u8>) {
        self.len().encode(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        let length = usize::decode(input)?;
        let (bytes, rest) = input.split_at_checked(length)?;
        *input = rest;
        Some(OsString::from_vec(bytes.to_vec()))
    }
}

impl Wire for String {
    fn encode(&self, out: &mut Vec<u8>) {
        self.len().encode(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        OsString::decode(input)?.into_string().ok()
    }
}

impl Wire for PathBuf {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_os_str().len().encode(out);
        out.extend_from_slice(self.as_os_str().as_bytes());
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        OsString::decode(input).map(PathBuf::from)
    }
}

impl Wire for Duration {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_secs().encode(out);
        self.subsec_nanos().encode(out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Some(Duration::new(u64::decode(input)?, u32::decode(input)?))
    }
}

impl Wire for SocketAddr {
    fn encode(&self, out: &mut Vec<u8>) {
        self.to_string().encode(out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        String::decode(input)?.parse().ok()
    }
}

impl<T: Wire> Wire for Box<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        T::decode(input).map(Box::new)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        self.iter().for_each(|value| value.encode(out));
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        match bool::decode(input)? {
            true => T::decode(input).map(Some),
            false => Some(None),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.len().encode(out);
        self.iter().for_each(|value| value.encode(out));
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        let length = usize::decode(input)?;
        // Each takes a byte at least, so that a wrong length asks for no more than there is.
        let mut values = Vec::with_capacity(length.min(input.len()));
        for _ in 0..length {
            values.push(T::decode(input)?);
        }
        Some(values)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Some((A::decode(input)?, B::decode(input)?))
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.len().encode(out);
        for (key, value) in self {
            key.encode(out);
            value.encode(out);
        }
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Vec::<(K, V)>::decode(input).map(|pairs| pairs.into_iter().collect())
    }
}
