//! Stores equal values once. A thousand services rarely have a thousand kinds of settings.

use std::sync::Arc;

/// With how many different values one is compared, so that a bundle in which all differ costs little
/// time.
const MOST: usize = 16;

/// The first different values.
#[derive(Debug)]
pub(crate) struct Shared<T>(Vec<Arc<T>>);

impl<T: PartialEq> Shared<T> {
    pub(crate) fn new() -> Shared<T> {
        Shared(Vec::new())
    }

    /// The value, or an equal one from before.
    pub(crate) fn get(&mut self, value: Arc<T>) -> Arc<T> {
        if let Some(known) = self.0.iter().find(|known| **known == value) {
            return Arc::clone(known);
        }
        if self.0.len() < MOST {
            self.0.push(Arc::clone(&value));
        }
        value
    }
}
