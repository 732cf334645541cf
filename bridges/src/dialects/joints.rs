//! Joints by their names: ROS promises no order.

use surefoot_core::RobotContract;

use crate::error::WireError;

/// Names in the contract's order, and where they stand in the messages of one sender.
#[derive(Clone, Debug)]
pub struct JointOrder {
    names: Vec<String>,
    /// The sender's names in the last message, and for each of ours its place there.
    theirs: Vec<String>,
    places: Vec<usize>,
}

impl JointOrder {
    /// Joints alone, as in a command.
    #[must_use]
    pub fn joints(contract: &RobotContract) -> Self {
        Self::of(contract.joints.iter().map(|j| j.name.clone()).collect())
    }

    /// Joints and further channels, as in a state.
    #[must_use]
    pub fn joints_and_channels(contract: &RobotContract) -> Self {
        let joints = contract.joints.iter().map(|j| j.name.clone());
        Self::of(joints.chain(contract.channels.iter().map(|c| c.name.clone())).collect())
    }

    const fn of(names: Vec<String>) -> Self {
        Self { names, theirs: Vec::new(), places: Vec::new() }
    }

    /// Names in the contract's order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// For each name of the contract its place among the sender's. Names that the contract does not know are passed over. Does not
    /// allocate while the sender keeps its order.
    ///
    /// # Errors
    /// With the first name that is missing.
    pub fn places(&mut self, theirs: &[String]) -> Result<&[usize], WireError> {
        if self.theirs != theirs || self.places.len() != self.names.len() {
            self.places.clear();
            for name in &self.names {
                let place = theirs.iter().position(|t| t == name).ok_or_else(|| WireError::MissingJoint {
                    missing: name.clone(),
                    found: if theirs.is_empty() { "no names".to_owned() } else { theirs.join(", ") },
                })?;
                self.places.push(place);
            }
            self.theirs.clear();
            self.theirs.extend_from_slice(theirs);
        }
        Ok(&self.places)
    }
}

/// Refuses a row that is not as long as the names.
pub(super) const fn check_length(what: &'static str, expected: usize, found: usize) -> Result<(), WireError> {
    if expected == found { Ok(()) } else { Err(WireError::Length { what, expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_wherever_they_stand_and_missing_ones_are_named() {
        let words = |text: &str| text.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>();
        let mut order = JointOrder::of(words("a b"));
        assert_eq!(order.places(&words("b x a")).unwrap(), [2, 0]);
        assert_eq!(order.places(&words("a b")).unwrap(), [0, 1]);
        let message = order.places(&words("a c")).unwrap_err().to_string();
        assert_eq!(message, "joint b of the contract is missing; there are a, c");
        assert_eq!(order.places(&words("a b")).unwrap(), [0, 1], "an error leaves nothing behind");
        assert!(order.places(&[]).unwrap_err().to_string().contains("no names"));
    }
}
