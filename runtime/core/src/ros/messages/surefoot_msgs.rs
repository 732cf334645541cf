use super::RosMessage;

message! {
    /// One period of surefoot's control loop, but for the rows that have topics of their own. It stands behind them: what came of
    /// a period is known as a whole when it is there.
    ControlTick {
        /// Control periods since the loop was made.
        tick: u64,
        /// Beginning of the period by the loop's monotonic clock, ns.
        now_nanos: i64,
        /// The same moment by the wall clock, ns since 1970; 0 on simulated time.
        wall_nanos: i64,
        /// When the state that was used was measured, ns of the monotonic clock.
        stamp_nanos: i64,
        /// Sample number of that state.
        stamp_seq: u64,
        /// The mode at the end of the period, as in `running:policy`.
        mode: String,
        /// Who decided: `policy`, `human`, or nobody.
        driver: String,
        /// Version of the policy whose action was used; 0 where none was.
        policy_version: u64,
        /// Age of the state that was used, ns.
        observation_age_nanos: i64,
        /// From an observation to the policy's answer to it, ns; 0 where none came.
        policy_latency_nanos: i64,
        /// Beginning of the period after its deadline, ns.
        jitter_nanos: i64,
        /// Deadlines that passed unused before this period.
        overruns: u32,
        /// What the safety chain did: `passed`, `adjusted`, `stopped`.
        verdict: String,
        /// Why, as bits.
        reasons: u16,
        /// Largest difference between desired and executed joint command, rad/s or m/s.
        filter_delta: f64,
        /// Commanded joints that were found beyond a limit.
        violations: u64,
        /// Whether a command was written.
        commanded: bool,
        /// The action that was acted on; zeros where none was.
        action: Vec<f32>,
        /// What happened in this period, as JSON: transitions, a refusal, a mark, a limit; empty where nothing did.
        events: String,
    }
}

impl RosMessage for ControlTick {
    definition!(
        "surefoot_msgs/msg/ControlTick",
        "uint64 tick\nint64 now_nanos\nint64 wall_nanos\nint64 stamp_nanos\nuint64 stamp_seq\nstring mode\nstring driver\n\
         uint64 policy_version\nint64 observation_age_nanos\nint64 policy_latency_nanos\nint64 jitter_nanos\n\
         uint32 overruns\nstring verdict\nuint16 reasons\nfloat64 filter_delta\nuint64 violations\nbool commanded\n\
         float32[] action\nstring events\n"
    );
}
