//! Which life of a topic a message comes from: offsets mean something within one life only.
//!
//! A topic that was deleted and created anew begins at offset 0 again, and more partitions give keys new places. The Kafka
//! source notices both and counts them; without that the new offsets, which are small, would lose against the old ones.
//!
//! Invariant: the first life of a topic is the default, and its name is the topic's own.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Bits of a version that hold the offset and, below it, one for what stands between two messages; the sign's bit stays
/// free, since targets have signed numbers.
const OFFSET_BITS: u32 = 48;
/// Of the 15 bits above: 7 for incarnations, 8 for growths.
const GROWTH_BITS: u32 = 8;

/// A life of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch {
    /// How often the topic was created anew.
    pub incarnation: u16,
    /// How often it had got more partitions when this partition came into being.
    pub growth: u16,
}

impl Epoch {
    /// The topic in this life: `topic`, later `topic@1`, `topic@1+2`. No topic has an `@` in its name.
    pub fn name(self, topic: &str) -> Cow<'_, str> {
        match (self.incarnation, self.growth) {
            (0, 0) => Cow::Borrowed(topic),
            (incarnation, 0) => format!("{topic}@{incarnation}").into(),
            (incarnation, growth) => format!("{topic}@{incarnation}+{growth}").into(),
        }
    }

    /// Topic and life of what [`Epoch::name`] gave.
    pub fn of_name(name: &str) -> (&str, Epoch) {
        let read = || {
            let (topic, life) = name.rsplit_once('@')?;
            let (incarnation, growth) = life.split_once('+').unwrap_or((life, "0"));
            Some((topic, Epoch { incarnation: incarnation.parse().ok()?, growth: growth.parse().ok()? }))
        };
        read().unwrap_or((name, Epoch::default()))
    }

    /// What guards writes of a message at `offset`: later lives are higher. 0 stays free for “nothing”, odd numbers for
    /// [`Epoch::version_behind`].
    pub fn version(self, offset: i64) -> u64 {
        let (incarnation, growth) = (u64::from(self.incarnation).min(127), u64::from(self.growth).min(255));
        let offset = u64::try_from(offset).unwrap_or(0).saturating_add(1).min((1 << (OFFSET_BITS - 1)) - 1);
        (incarnation << GROWTH_BITS | growth) << OFFSET_BITS | offset << 1
    }

    /// What guards the delete of a row that was last written by the message at `offset` and is gone by no message of its
    /// own: higher than that message, lower than the next one.
    pub fn version_behind(self, offset: i64) -> u64 {
        self.version(offset) | 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for epoch in [(0, 0), (1, 0), (0, 2), (3, 4)].map(|(incarnation, growth)| Epoch { incarnation, growth }) {
            assert_eq!(Epoch::of_name(&epoch.name("bank.public.account")), ("bank.public.account", epoch));
        }
        assert_eq!(Epoch::default().name("t"), "t");
        assert_eq!(Epoch::of_name("odd@name"), ("odd@name", Epoch::default()));
    }

    #[test]
    fn a_later_life_has_higher_versions() {
        let version = |incarnation, growth, offset| Epoch { incarnation, growth }.version(offset);
        assert_eq!(version(0, 0, 7), 16);
        let behind = Epoch::default().version_behind(7);
        assert!(version(0, 0, 7) < behind && behind < version(0, 0, 8));
        assert!(Epoch::default().version_behind(i64::MAX) < version(0, 1, 0));
        assert!(version(0, 1, 0) > version(0, 0, i64::MAX));
        assert!(version(1, 0, 0) > version(0, 255, 1 << 40));
        assert!(i64::try_from(version(u16::MAX, u16::MAX, i64::MAX)).is_ok());
    }
}
