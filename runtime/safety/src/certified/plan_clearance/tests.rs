use super::*;
use crate::certified::backup::BackupStop;
use crate::testing::{PERIODS, Random};

/// Stay away from two points of the plane of two joints, each with a clearance that changes by 1 m/rad at most.
struct Pillars {
    evaluations: u64,
}

impl Clearance for Pillars {
    fn clearance(&mut self, q: &[f64]) -> f64 {
        self.evaluations += 1;
        let from = |x: f64, y: f64, radius: f64| (q[0] - x).hypot(q[1] - y) - radius;
        from(0.4, 0.1, 0.15).min(from(-0.2, -0.5, 0.2))
    }
    fn reach(&self) -> &[f64] {
        &[1.0, 1.0]
    }
}

/// The rule itself: every state evaluated.
fn every_state(stored: &[Vec<Motion>], trial: &[Vec<Motion>]) -> bool {
    let mut pillars = Pillars { evaluations: 0 };
    let mut pose = |plans: &[Vec<Motion>], tick: usize| {
        let q = [at(&plans[0], tick), at(&plans[1], tick)];
        (q, pillars.clearance(&q))
    };
    let (mut q, mut c) = pose(stored, 0);
    (0..length(trial)).all(|tick| {
        let (q1, c1) = pose(trial, tick);
        let motion: f64 = q.iter().zip(&q1).map(|(a, b)| (a - b).abs()).sum();
        let kept = c + c1 >= motion && c1 >= 0.0;
        (q, c) = (q1, c1);
        kept
    })
}

#[test]
fn plans_are_judged_as_if_every_state_were_evaluated() {
    let mut random = Random::new(3);
    let (mut judged, mut refused, mut evaluations, mut states) = (0, 0, 0, 0);
    for _ in 0..200 {
        let limits = [random.jerk_limits(), random.jerk_limits()];
        let h = PERIODS[random.below(3)];
        let stops = [0, 1].map(|j| BackupStop::new(j, &limits[j], h).unwrap());
        let most = stops.iter().map(BackupStop::max_ticks).max().unwrap() + 1;
        let mut clearance = PlanClearance::new(Box::new(Pillars { evaluations: 0 }), most);
        let mut work = Work { evaluations: 0, most: u64::MAX };
        let mut stored = vec![vec![Motion::default()]; 2];
        assert!(clearance.start(&stored) > 0.0);
        let mut wanted = [0.0; 2];
        for tick in 0..400 {
            if tick % 40 == 0 {
                wanted = [random.between(-5.0, 5.0), random.between(-5.0, 5.0)];
            }
            clearance.begin();
            clearance.replay();
            let rest = |plan: &Vec<Motion>| plan[usize::from(plan.len() > 1)..].to_vec();
            let mut best: Vec<Vec<Motion>> = stored.iter().map(rest).collect();
            // The wish, and then some shares of it, like the one that was accepted last.
            for share in [1.0, 0.5, 0.75, 0.625] {
                let mut trial = vec![Vec::new(), Vec::new()];
                let certified = (0..2).all(|j| {
                    let x = stored[j][0];
                    let step = share * (wanted[j] - x.velocity);
                    let a = stops[j].within_jerk(
                        x,
                        (step / h)
                            .clamp(-0.9 * limits[j].max_acceleration(), 0.9 * limits[j].max_acceleration()),
                    );
                    stops[j].certify(x, stops[j].accelerated(x, a), limits[j].max_velocity(), &mut trial[j])
                });
                if !certified {
                    continue;
                }
                let like = if share == 1.0 { Like::Stored(&stored) } else { Like::Best(&best) };
                let before = work.evaluations;
                let kept = clearance.keeps(&stored, &trial, like, &mut work);
                assert_eq!(kept, every_state(&stored, &trial));
                (judged, refused) = (judged + 1, refused + u32::from(!kept));
                (evaluations, states) =
                    (evaluations + work.evaluations - before, states + length(&trial) as u64);
                if kept {
                    clearance.accept();
                    best = trial;
                    if share == 1.0 {
                        break;
                    }
                }
            }
            // What is known is known: no bound is above the clearance.
            for (tick, bound) in clearance.best.iter().enumerate() {
                let q = [at(&best[0], tick), at(&best[1], tick)];
                assert!(*bound <= Pillars { evaluations: 0 }.clearance(&q) + 1e-15);
            }
            clearance.commit();
            stored = best;
        }
    }
    assert!(judged > 10_000 && refused > 1_000, "{judged} judged, {refused} refused");
    assert!(evaluations * 10 < states, "{evaluations} evaluations of {states} states");
}

#[test]
fn when_the_work_is_spent_a_plan_is_refused() {
    let stop = BackupStop::new(0, &crate::JointLimits::new(-9.0, 9.0, 2.0, 5.0).unwrap(), 0.01).unwrap();
    // Past the side of a pillar.
    let resting = [0.35, 0.26].map(|position| vec![Motion { position, ..Motion::default() }]).to_vec();
    let mut plan = Vec::new();
    assert!(stop.roll(Motion { position: 0.35, velocity: 1.0, acceleration: 0.0 }, 2.0, &mut plan));
    let trial = vec![plan, resting[1].clone()];
    let judge = |most: u64| {
        let mut clearance = PlanClearance::new(Box::new(Pillars { evaluations: 0 }), 1000);
        clearance.start(&resting);
        let mut work = Work { evaluations: 0, most };
        let kept = clearance.keeps(&resting, &trial, Like::Stored(&resting), &mut work);
        assert!(work.evaluations <= most);
        (kept, work.evaluations)
    };
    let (kept, evaluations) = judge(u64::MAX);
    assert!(kept && evaluations > 1, "{evaluations}");
    assert_eq!(judge(evaluations), (true, evaluations));
    for most in 0..evaluations {
        assert!(!judge(most).0);
    }
}
