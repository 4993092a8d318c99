//! Many short lists, stored one behind the other: most have one item, and a `Vec` for each would use
//! several times the memory.

use std::ops::Index;

#[derive(Debug)]
pub(super) struct Lists<T> {
    items: Vec<T>,
    /// Where each list ends.
    ends: Vec<usize>,
}

impl<T> Lists<T> {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

impl<T> From<Vec<Vec<T>>> for Lists<T> {
    fn from(lists: Vec<Vec<T>>) -> Lists<T> {
        let mut items = Vec::with_capacity(lists.iter().map(Vec::len).sum());
        let mut ends = Vec::with_capacity(lists.len());
        for list in lists {
            items.extend(list);
            ends.push(items.len());
        }
        Lists { items, ends }
    }
}

impl<T> Index<usize> for Lists<T> {
    type Output = [T];

    fn index(&self, list: usize) -> &[T] {
        let begin = list.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.items[begin..self.ends[list]]
    }
}
