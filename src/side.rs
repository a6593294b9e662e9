//! The two trees of a pair, and values of which each has one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the two trees of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The first tree of the pair.
    Source,
    /// The second tree of the pair.
    Destination,
}

impl Side {
    /// Both sides, source first.
    pub const BOTH: [Self; 2] = [Self::Source, Self::Destination];

    /// Returns the opposite side.
    pub fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// A pair of values, one for each side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides<T> {
    /// The source's value.
    pub source: T,
    /// The destination's value.
    pub destination: T,
}

impl<T> Sides<T> {
    /// Returns the pair of the two values.
    pub fn new(source: T, destination: T) -> Self {
        Self { source, destination }
    }

    /// Returns the value of `side`.
    pub fn get(&self, side: Side) -> &T {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    /// Returns the value of `side` for changing it.
    pub fn get_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Source => &mut self.source,
            Side::Destination => &mut self.destination,
        }
    }
}
