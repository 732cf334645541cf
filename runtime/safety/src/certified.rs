//! The position/velocity/acceleration/jerk filter, with geometry: no state is entered from which the backup stop was not tried.
//!
//! Model: the state of a joint is the *command* `x = (p, v, a)`; with the decision `a'`, `v' = v + a' h` and `p' = p + v' h`;
//! `|a' - a| <= J h`. The backup stop is the fastest one that ends without acceleration, which is the inverse braking distance of
//! [`braking`](crate::braking) one order up (`G⁻¹` with `J` in the place of `D`):
//!
//! ```text
//! κ(x)  = clamp( -sgn(v) min(D, G_J⁻¹(|v|)),  a - J h, a + J h )       and exactly rest where one period reaches it
//! T(x)  = x, κ(x), κ(κ(x)), ... until rest                             the stop plan of x
//! S_κ   = { x : T(x) keeps every limit, ends within N periods, and the straight segments between its positions keep every
//!               geometric condition }
//!
//! wanted a' = (w - v)/h where acceleration and jerk allow it; else toward w as fast as they do without overshooting it
//! accept f(x, wanted) if it is in S_κ;  else bisect between the stored plan's next state and it, and accept the
//! last point found in S_κ;  else follow the stored plan.  Store the plan of what was accepted.
//! ```
//!
//! A wish that can be reached is executed bit for bit, even where the acceleration that it takes cannot be taken back in the next
//! period: a velocity that is asked for in a step may then be overshot, never a limit.
//!
//! **Theorem.** Let the filter be armed in a state of `S_κ` and store its plan. Then every commanded state is in `S_κ`, for any
//! sequence of inputs: position, velocity, acceleration and jerk limits and all geometric conditions hold for ever, also
//! between the ticks, and a plan that stops within them is stored at every tick.
//!
//! *Proof.* By induction over ticks. Suppose the present state is the first of a stored plan that keeps all conditions. The filter
//! commands either (1) a state that was just found in `S_κ` by rolling its plan out, with a change of acceleration within
//! `J h`, with the segment from the present position checked, and stores that plan; or (2) the second state of the stored
//! plan, and stores the rest of that plan, which is part of a plan that keeps all conditions and is shorter, hence still ends
//! within `N`. A plan of one state is rest, its rest is itself. In either case the hypothesis holds again. ∎
//!
//! Nothing is assumed about `κ` (it may be any policy), about the shape of `S_κ` (the bisection needs no monotonicity: it returns
//! only points that were certified), or about rounding: the rollout *is* the arithmetic that will be executed, the states of
//! a plan are stored and replayed bit for bit. `N = ceil(V/(D h)) + 2 ceil(max(A, D)/(J h)) + 4` bounds the length of every stop (two
//! ramps of the acceleration and braking from `V`), and so the memory, all of it allocated at construction, and the time:
//! at most 13 rollouts of each joint, 10 more with [`Scaling::Synchronized`], 8 more with geometry.
//!
//! **Segments.** A condition states how much its clearance can change per rad of each joint
//! ([`Clearance::reach`](crate::Clearance::reach)). Two poses `m` metres of such motion apart, whose clearances add up to `m` or more, have no
//! violation between them: that is checked for every segment of every plan. What is known of the clearances of an earlier plan, less the
//! motion from that plan to this one, bounds those of this one from below, and from a clearance `c` nothing within `m <= c` of motion needs
//! to be evaluated; so few states are, and the decision is the one of evaluating all (`plan_clearance.rs` has the argument, its tests compare).
//!
//! **Work.** A tick evaluates conditions 400 times at most, all together; a plan that is not certified by then is not executed, and the
//! stored plan, which needs no evaluation, is. With the bound on rollouts this bounds a tick: for seven joints at 1 kHz with stops of up to
//! 534 periods, `31 * 534 * 7` states and 400 evaluations, under 1 ms on a core that makes 2e8 states and 2e6 evaluations per second. What was met
//! in practice stands in `examples/filter_speed.rs`.
//!
//! **Speed scale.** With a scale `s` candidates must keep `|v| <= max(s V, fastest of the stored plan)`. The stored plan meets it by
//! definition, so the theorem is untouched; and since that bound never rises from one tick to the next, the speed falls to
//! `s V` and stays there. Speeding up is limited to `s² A`; braking and jerk keep their limits.
//!
//! **Related work.** The idea that a motion is executed only if a simulated stop after it complies, and the stop prepared before is executed
//! otherwise, is that of Kiemel and Kröger (arXiv 2103.03793); their earlier work (arXiv 2011.00563) computes the range of safe
//! accelerations of a joint under P/V/A/J limits in closed form. Here the range is not computed: candidates between the
//! stored stop and the wish are tried, so a wish that cannot be followed whole is followed in part; the stop is discrete and ends exactly;
//! segments between samples are covered by the reach bound; and the claim is about the executed floating-point numbers.

mod backup;
mod filter;
mod plan_clearance;

#[cfg(test)]
mod tests;

pub(crate) use backup::Motion;
pub use filter::CertifiedFilter;

#[cfg(doc)]
use crate::Scaling;
