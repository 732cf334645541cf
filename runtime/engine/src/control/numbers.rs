//! Numbers in records: JSON has no NaN and no infinity, but a record of what went wrong must.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Named(Name),
}

#[derive(Serialize, Deserialize)]
enum Name {
    #[serde(rename = "nan")]
    Nan,
    #[serde(rename = "inf")]
    Infinite,
    #[serde(rename = "-inf")]
    NegativeInfinite,
}

impl From<f64> for Number {
    fn from(x: f64) -> Self {
        match x {
            x if x.is_finite() => Self::Finite(x),
            x if x.is_nan() => Self::Named(Name::Nan),
            x if x > 0.0 => Self::Named(Name::Infinite),
            _ => Self::Named(Name::NegativeInfinite),
        }
    }
}

impl From<Number> for f64 {
    fn from(number: Number) -> Self {
        match number {
            Number::Finite(x) => x,
            Number::Named(Name::Nan) => Self::NAN,
            Number::Named(Name::Infinite) => Self::INFINITY,
            Number::Named(Name::NegativeInfinite) => Self::NEG_INFINITY,
        }
    }
}

/// One number.
pub mod number {
    use super::{Deserialize, Deserializer, Number, Serialize, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub fn serialize<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Number::from(*x).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Number::deserialize(deserializer).map(f64::from)
    }
}

/// A row of numbers of either width; an `f32` keeps its value.
pub mod row {
    use super::{Deserialize, Deserializer, Number, Serializer};

    /// What a row may hold.
    pub trait Entry: Copy {
        /// Without loss.
        fn widen(self) -> f64;
        /// Back to the value that was widened.
        fn narrow(x: f64) -> Self;
    }

    impl Entry for f64 {
        fn widen(self) -> f64 {
            self
        }
        fn narrow(x: f64) -> Self {
            x
        }
    }

    impl Entry for f32 {
        fn widen(self) -> f64 {
            Self::into(self)
        }
        fn narrow(x: f64) -> Self {
            x as Self
        }
    }

    pub fn serialize<S: Serializer, T: Entry>(row: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(row.iter().map(|x| Number::from(x.widen())))
    }

    pub fn deserialize<'de, D: Deserializer<'de>, T: Entry>(deserializer: D) -> Result<Vec<T>, D::Error> {
        let numbers = Vec::<Number>::deserialize(deserializer)?;
        Ok(numbers.into_iter().map(|n| T::narrow(f64::from(n))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Record {
        #[serde(with = "number")]
        one: f64,
        #[serde(with = "row")]
        narrow: Vec<f32>,
        #[serde(with = "row")]
        wide: Vec<f64>,
    }

    #[test]
    fn every_number_comes_back_as_it_was() {
        let record = Record {
            one: f64::NEG_INFINITY,
            narrow: vec![0.1, f32::NAN, f32::INFINITY, -0.0],
            wide: vec![0.1, f64::NAN, f64::MIN_POSITIVE],
        };
        let text = serde_json::to_string(&record).unwrap();
        let again: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(again.one, record.one);
        let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&again.narrow), bits(&record.narrow), "{text}");
        let bits = |row: &[f64]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&again.wide), bits(&record.wide), "{text}");
    }
}
