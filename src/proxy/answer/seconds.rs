//! Field values that differ by a number of seconds, each made once.
//!
//! Every hit has an `Age` and a `Cache-Status`, and the hits of a second have few different ones.
//! A thread keeps the values in slots, the number modulo the slots, and clones them: a clone
//! increments a count, where a new value takes an allocation and a check of each byte.

use std::cell::RefCell;

use http::HeaderValue;

use crate::limits::SECONDS_VALUES_KEPT;

/// The values of one field that a thread has made. The slots are allocated at the first value.
pub(in crate::proxy) struct SecondsValues(RefCell<Vec<Option<(u64, HeaderValue)>>>);

impl SecondsValues {
    /// Returns no values.
    pub(in crate::proxy) const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// Returns the value for a number of seconds, which `make` makes unless it is known.
    pub(in crate::proxy) fn get(
        &self,
        seconds: u64,
        make: impl FnOnce() -> Option<HeaderValue>,
    ) -> Option<HeaderValue> {
        let mut slots = self.0.borrow_mut();
        if slots.is_empty() {
            slots.resize(SECONDS_VALUES_KEPT, None);
        }
        let slot = slots.get_mut(usize::try_from(seconds % SECONDS_VALUES_KEPT as u64).ok()?)?;
        match slot {
            Some((known, value)) if *known == seconds => Some(value.clone()),
            _ => {
                let value = make()?;
                *slot = Some((seconds, value.clone()));
                Some(value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_made_once_until_another_takes_its_slot() {
        let (values, made) = (SecondsValues::new(), RefCell::new(Vec::new()));
        let get = |seconds: u64| {
            values.get(seconds, || {
                made.borrow_mut().push(seconds);
                Some(HeaderValue::from(seconds))
            })
        };
        let other = 3 + SECONDS_VALUES_KEPT as u64;
        for seconds in [3, 3, 4, 3, other, other, 3] {
            assert_eq!(get(seconds), Some(HeaderValue::from(seconds)));
        }
        assert_eq!(*made.borrow(), [3, 4, other, 3]);
        assert_eq!(values.get(7, || None), None);
    }
}
