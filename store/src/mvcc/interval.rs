//! A [`KeyRange`] as the half-open interval it stands for.

use bytes::Bytes;

use crate::command::KeyRange;
use crate::engine::Bounds;

/// Keys from `lower` on, up to but without `upper` if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    lower: Bytes,
    upper: Option<Bytes>,
    single: bool,
}

impl Interval {
    pub(crate) fn of(range: &KeyRange) -> Self {
        let KeyRange { key, end } = range;
        match &end[..] {
            [] => {
                let mut upper = Vec::with_capacity(key.len() + 1);
                upper.extend_from_slice(key);
                upper.push(0);
                Self { lower: key.clone(), upper: Some(upper.into()), single: true }
            }
            [0] => Self { lower: key.clone(), upper: None, single: false },
            _ => Self { lower: key.clone(), upper: Some(end.clone()), single: false },
        }
    }

    pub(crate) fn lower(&self) -> &[u8] {
        &self.lower
    }

    pub(crate) fn upper(&self) -> Option<&[u8]> {
        self.upper.as_deref()
    }

    /// The only key that can lie inside, if the interval was asked for as one.
    pub(crate) fn single(&self) -> Option<&[u8]> {
        self.single.then_some(&self.lower[..])
    }

    /// No key lies inside.
    pub(crate) fn is_empty(&self) -> bool {
        self.upper.as_ref().is_some_and(|upper| *upper <= self.lower)
    }

    /// The interval in table `current`, whose keys are the user's.
    pub(crate) fn bounds(&self) -> Bounds<'_> {
        Bounds { lower: self.lower(), upper: self.upper() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_etcds_rule() {
        let interval = |key: &'static [u8], end: &'static [u8]| {
            Interval::of(&KeyRange { key: Bytes::from_static(key), end: Bytes::from_static(end) })
        };
        let single = interval(b"a", b"");
        assert_eq!((single.single(), single.upper()), (Some(&b"a"[..]), Some(&b"a\0"[..])));
        assert_eq!(interval(b"a", b"\0").upper(), None);
        assert!(!interval(b"a", b"\0").is_empty());
        assert!(interval(b"b", b"a").is_empty());
        assert!(interval(b"b", b"b").is_empty());
        assert!(!interval(b"\0", b"\0").is_empty());
    }
}
