//! Work that is shared out among processes or machines.

use std::str::FromStr;

/// One part of many: every `of`-th piece of work, written `index/of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    pub index: usize,
    /// Parts.
    pub of: usize,
}

impl Shard {
    /// Whether the piece of this number, from 0, is of this part.
    #[must_use]
    pub const fn has(self, number: usize) -> bool {
        number % self.of == self.index - 1
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?}: expected i/n with i from 1 to n, such as 2/4");
        let (index, of) = text.split_once('/').ok_or_else(refuse)?;
        let (index, of) = (index.parse().map_err(|_| refuse())?, of.parse().map_err(|_| refuse())?);
        if (1..=of).contains(&index) { Ok(Self { index, of }) } else { Err(refuse()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_read_and_refused() {
        assert_eq!("2/4".parse(), Ok(Shard { index: 2, of: 4 }));
        for bad in ["", "2", "0/4", "5/4", "-1/4", "a/b", "1/0"] {
            assert!(bad.parse::<Shard>().unwrap_err().contains("expected i/n"), "{bad}");
        }
    }

    #[test]
    fn every_piece_is_of_one_part() {
        for number in 0..20 {
            assert_eq!((1..=3).filter(|index| Shard { index: *index, of: 3 }.has(number)).count(), 1);
        }
    }
}
