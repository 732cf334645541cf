use super::RosMessage;

const NANOS: i64 = 1_000_000_000;

message! {
    /// A moment: seconds since the epoch of its clock.
    Time {
        /// Whole seconds, rounded down.
        sec: i32,
        /// Nanoseconds beyond them, below 1 000 000 000.
        nanosec: u32,
    }
}

message! {
    /// A span of time.
    Duration {
        /// Whole seconds, rounded down.
        sec: i32,
        /// Nanoseconds beyond them, below 1 000 000 000.
        nanosec: u32,
    }
}

macro_rules! nanos {
    ($name:ident) => {
        impl $name {
            /// From nanoseconds; what 32 bits of seconds cannot hold becomes the last moment that they can.
            #[must_use]
            pub fn from_nanos(nanos: i64) -> Self {
                match i32::try_from(nanos.div_euclid(NANOS)) {
                    Ok(sec) => Self { sec, nanosec: nanos.rem_euclid(NANOS) as u32 },
                    Err(_) if nanos > 0 => Self { sec: i32::MAX, nanosec: NANOS as u32 - 1 },
                    Err(_) => Self { sec: i32::MIN, nanosec: 0 },
                }
            }

            /// Nanoseconds.
            #[must_use]
            pub fn nanos(&self) -> i64 {
                i64::from(self.sec) * NANOS + i64::from(self.nanosec)
            }
        }
    };
}
nanos!(Time);
nanos!(Duration);

impl RosMessage for Time {
    definition!("builtin_interfaces/msg/Time", text!(Time));
}

impl RosMessage for Duration {
    definition!("builtin_interfaces/msg/Duration", text!(Duration));
}
