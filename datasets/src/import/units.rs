//! Changes of units: a scale and an offset, always undoable.

use surefoot_core::contract::UnitOperator;

use super::PlanError;

/// `recorded * scale + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Never 0.
    pub scale: f64,
    /// In the new unit.
    pub offset: f64,
}

impl Affine {
    /// Nothing changes.
    pub const IDENTITY: Self = Self { scale: 1.0, offset: 0.0 };

    /// From the recorded unit.
    #[must_use]
    pub fn forward(self, recorded: f64) -> f64 {
        recorded.mul_add(self.scale, self.offset)
    }
    /// Back to it.
    #[must_use]
    pub fn inverse(self, value: f64) -> f64 {
        (value - self.offset) / self.scale
    }
    const fn then(self, scale: f64, offset: f64) -> Self {
        Self { scale: self.scale * scale, offset: self.offset * scale + offset }
    }
}

/// Largest error of a round trip: absolute below 1, relative above.
const TOLERANCE: f64 = 1e-9;

/// The operators one after the other, for each of `width` numbers. `at` is for messages.
///
/// # Errors
/// When a list has another length than there are numbers, or going there and back does not lead where it began: a scale of 0, a
/// range without width, an offset that swallows the value.
pub fn compile(operators: &[UnitOperator], width: usize, at: &str) -> Result<Vec<Affine>, PlanError> {
    let mut compiled = vec![Affine::IDENTITY; width];
    for (i, operator) in operators.iter().enumerate() {
        let at = format!("{at}.apply[{i}]");
        let each = |list: &[f64]| -> Result<(), PlanError> {
            if list.len() == width {
                return Ok(());
            }
            Err(PlanError::new(&at, format!("{width} numbers, one for each selected"), list.len()))
        };
        let all = |scale, offset| vec![(scale, offset); width];
        let steps: Vec<(f64, f64)> = match operator {
            UnitOperator::DegToRad => all(std::f64::consts::PI / 180.0, 0.0),
            UnitOperator::RadToDeg => all(180.0 / std::f64::consts::PI, 0.0),
            UnitOperator::MmToM => all(1e-3, 0.0),
            UnitOperator::Negate => all(-1.0, 0.0),
            UnitOperator::Scale(scale) => all(*scale, 0.0),
            UnitOperator::Offset(offset) => all(1.0, *offset),
            UnitOperator::ScaleEach(list) => {
                each(list)?;
                list.iter().map(|s| (*s, 0.0)).collect()
            }
            UnitOperator::OffsetEach(list) => {
                each(list)?;
                list.iter().map(|o| (1.0, *o)).collect()
            }
            UnitOperator::Range { from: [a, b], to: [c, d] } => {
                let scale = (d - c) / (b - a);
                all(scale, c - a * scale)
            }
        };
        for (affine, (scale, offset)) in compiled.iter_mut().zip(steps) {
            *affine = affine.then(scale, offset);
        }
        for affine in &compiled {
            if let Some(x) = lost(*affine) {
                let found = format!("{x} comes back as {}", affine.inverse(affine.forward(x)));
                return Err(PlanError::new(&at, "a change of units that can be undone", found));
            }
        }
    }
    Ok(compiled)
}

/// A number that does not survive the way there and back.
fn lost(affine: Affine) -> Option<f64> {
    [-1e3, -1.0, -1e-3, 0.0, 1e-3, 1.0, 1e3].into_iter().find(|x| {
        let y = affine.forward(*x);
        let back = affine.inverse(y);
        !(y.is_finite() && affine.scale != 0.0 && (back - x).abs() <= TOLERANCE * x.abs().max(1.0))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_conversions_are_right() {
        let one = |operators: &[UnitOperator], x: f64| compile(operators, 1, "x").unwrap()[0].forward(x);
        assert!((one(&[UnitOperator::DegToRad], 180.0) - std::f64::consts::PI).abs() < 1e-15);
        assert_eq!(one(&[UnitOperator::MmToM, UnitOperator::Negate], 250.0), -0.25);
        let gripper = UnitOperator::Range { from: [0.0, 100.0], to: [0.08, 0.0] };
        assert!((one(&[gripper], 25.0) - 0.06).abs() < 1e-15);
        let each = compile(&[UnitOperator::ScaleEach(vec![1.0, -1.0])], 2, "x").unwrap();
        assert_eq!((each[0].forward(3.0), each[1].forward(3.0)), (3.0, -3.0));
    }

    #[test]
    fn what_cannot_be_undone_is_refused() {
        for operator in [
            UnitOperator::Scale(0.0),
            UnitOperator::Scale(f64::NAN),
            UnitOperator::Scale(f64::INFINITY),
            UnitOperator::Scale(1e-320),
            UnitOperator::Offset(1e30),
            UnitOperator::Range { from: [1.0, 1.0], to: [0.0, 1.0] },
            UnitOperator::Range { from: [0.0, 1.0], to: [2.0, 2.0] },
            UnitOperator::ScaleEach(vec![1.0, 0.0]),
            UnitOperator::ScaleEach(vec![1.0]),
        ] {
            let error = compile(std::slice::from_ref(&operator), 2, "import.observation[0]").unwrap_err();
            assert!(error.to_string().starts_with("import.observation[0].apply[0]"), "{operator:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_can_be_undone(
            scale in prop_oneof![-1e6_f64..1e6, Just(1e-12)],
            offset in -1e6_f64..1e6,
            x in -1e3_f64..1e3,
        ) {
            let operators = [UnitOperator::Scale(scale), UnitOperator::Offset(offset), UnitOperator::DegToRad];
            if let Ok(compiled) = compile(&operators, 1, "x") {
                let back = compiled[0].inverse(compiled[0].forward(x));
                let size = x.abs().max(1.0).max((compiled[0].offset / compiled[0].scale).abs());
                prop_assert!((back - x).abs() <= 1e-6 * size, "{x} -> {back}");
            }
        }
    }
}
