use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::round_pool::BODY_RADIUS_M;
use super::*;

const SMALL: [usize; 2] = [9, 12];

fn pool(platform: [f32; 2]) -> Watermaze {
    Arc::new(Rules::new(50, SMALL).unwrap()).pool(&platform).unwrap()
}

fn family(test_tasks: usize) -> Watermazes {
    let rules = Arc::new(Rules::new(50, SMALL).unwrap());
    let (walks, tasks) = (OnceLock::new(), OnceLock::new());
    Watermazes { rules, train_tasks: 1, test_tasks, split_seed: 3, walks, tasks }
}

/// Bits of all pictures of an episode, and its rewards.
fn lived(env: &mut Watermaze, actions: &[usize]) -> (Vec<u32>, Vec<f32>) {
    let mut seen = vec![0.0; env.spec().observation_dim()];
    let mut bits = Vec::new();
    let mut rewards = Vec::new();
    env.reset(0, &mut seen).unwrap();
    for action in actions {
        bits.extend(seen.iter().map(|p| p.to_bits()));
        rewards.push(env.step(&[*action as f32], &mut seen, &mut [0.0]).unwrap().reward);
    }
    bits.extend(seen.iter().map(|p| p.to_bits()));
    (bits, rewards)
}

fn a_platform() -> impl Strategy<Value = [f32; 2]> {
    [-1.23_f32..1.23, -1.23_f32..1.23]
}

/// Half of the actions walk forward, so that the wall is met.
fn some_actions() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![Just(0_usize), 0..CHOICES], 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_platform_changes_no_pixel(one in a_platform(), other in a_platform(), actions in some_actions()) {
        let (mut first, mut second) = (pool(one), pool(other));
        prop_assert_eq!(lived(&mut first, &actions).0, lived(&mut second, &actions).0);
    }

    #[test]
    fn the_same_actions_bring_the_same_bits_whatever_came_before(
        platform in a_platform(), before in some_actions(), actions in some_actions(),
    ) {
        let mut fresh = pool(platform);
        let expected = lived(&mut fresh, &actions);
        let mut used = pool(platform);
        lived(&mut used, &before);
        prop_assert_eq!(lived(&mut used, &actions), expected);
    }

    #[test]
    fn the_body_stays_in_the_pool_and_is_paid_on_the_platform_alone(
        platform in a_platform(), actions in some_actions(),
    ) {
        let mut env = pool(platform);
        let mut seen = vec![0.0; env.spec().observation_dim()];
        env.reset(0, &mut seen).unwrap();
        for action in actions {
            let before = env.stand.at;
            let outcome = env.step(&[action as f32], &mut seen, &mut [0.0]).unwrap();
            let [x, y] = env.stand.at;
            // Where two planks meet, the wall is 2.4 mm farther.
            prop_assert!(x.hypot(y) <= RADIUS_M - BODY_RADIUS_M + 3e-3, "{} m from the middle", x.hypot(y));
            prop_assert!(square_distance(before, [x, y]).sqrt() <= STEP_M + 1e-5);
            let on = (x - platform[0]).hypot(y - platform[1]) <= PLATFORM_RADIUS_M;
            prop_assert_eq!((outcome.reward, outcome.success), (f32::from(u8::from(on)), on));
        }
    }
}

#[test]
fn a_step_allocates_nothing_in_the_middle_or_along_the_wall() {
    let mut env = Arc::new(Rules::new(200, [72, 96]).unwrap()).pool(&[0.9, 0.0]).unwrap();
    let mut seen = vec![0.0; env.spec().observation_dim()];
    env.reset(0, &mut seen).unwrap();
    let counted = allocation_counter::measure(|| {
        for step in 0..60 {
            // Straight to the wall, and then around it.
            let action = if step % 8 == 7 { 6.0 } else { 0.0 };
            env.step(&[action], &mut seen, &mut [0.0]).unwrap();
        }
        env.reset(0, &mut seen).unwrap();
    });
    assert_eq!(counted.count_total, 0);
}

/// Fewest steps to every place that can be reached in so many, walls left out: where somebody is, in whole steps along four directions, and
/// where they look.
fn reached(most: usize) -> Vec<Vec<[f32; 2]>> {
    type Whole = ([i8; 4], usize);
    let place = |(whole, _): &Whole| {
        let along = |i: usize| (0..4).map(|k| f32::from(whole[k]) * step_along(k)[i]).sum::<f32>();
        [along(0), along(1)]
    };
    let mut known: BTreeSet<Whole> = [([0; 4], 0)].into();
    let mut edge: Vec<Whole> = known.iter().copied().collect();
    let mut all = vec![edge.iter().map(place).collect()];
    for _ in 0..most {
        let mut next = Vec::new();
        for (whole, heading) in edge {
            let gone = |direction: usize| {
                let mut to = whole;
                to[direction % 4] += if direction % 8 < 4 { 1 } else { -1 };
                to
            };
            let ahead = gone(heading);
            let (left, right) = ((heading + 1) % 8, (heading + 7) % 8);
            let walks = [0, 2, 4, 6].map(|d| (gone(heading + d), heading));
            for to in walks.into_iter().chain([(whole, left), (whole, right), (ahead, left), (ahead, right)])
            {
                if known.insert(to) {
                    next.push(to);
                }
            }
        }
        all.push(next.iter().map(place).collect());
        edge = next;
    }
    all
}

#[test]
fn who_knows_the_platform_takes_the_fewest_steps() {
    let family = family(60);
    let reached = reached(9);
    for task in family.tasks(TaskSplit::TestIn) {
        let platform = read(&task.params).unwrap();
        let near = |at: &[f32; 2]| square_distance(*at, platform) <= (PLATFORM_RADIUS_M - 1e-3).powi(2);
        let fewest = reached.iter().position(|places| places.iter().any(near)).unwrap();
        assert_eq!(towards(Stand::START, platform).1, fewest, "{platform:?}");
        assert_eq!(task.optimal_return, (51 - fewest) as f32, "{platform:?}");
    }
}

#[test]
fn who_knows_the_platform_finds_out_where_other_actions_have_led() {
    let family = family(4);
    for task in family.tasks(TaskSplit::TestIn) {
        let platform = read(&task.params).unwrap();
        let mut env = family.rules.pool(&platform).unwrap();
        let mut knows = family.knows(platform);
        let (mut seen, mut action) = (vec![0.0; family.spec().observation_dim()], [0.0]);
        for episode in 0..2 {
            let mut random = Stream::new(task.id, "interfered with", episode);
            env.reset(episode, &mut seen).unwrap();
            for step in 0..50 {
                knows.act(&seen, &mut action);
                if step < 25 {
                    action[0] = random.below(CHOICES) as f32;
                }
                let outcome = env.step(&action, &mut seen, &mut [0.0]).unwrap();
                knows.observe(&seen, &outcome);
                if !outcome.end.is_last() {
                    let miss = square_distance(knows.stand.at, env.stand.at).sqrt();
                    assert!(miss < 1e-3 && knows.stand.heading == env.stand.heading, "step {step}: {miss} m");
                }
            }
            assert!(is_on(env.stand.at, platform), "{platform:?}: half an episode is enough to come back");
        }
    }
}

#[test]
fn references_are_in_order_and_within_what_any_search_can_find() {
    let family = family(200);
    let tasks = family.tasks(TaskSplit::TestIn);
    let mean = |of: fn(&FamilyTask) -> f32| tasks.iter().map(of).sum::<f32>() / tasks.len() as f32;
    let (random, optimal) = (mean(|t| t.random_return), mean(|t| t.optimal_return));
    assert!((0.3..1.5).contains(&random) && (44.0..47.0).contains(&optimal), "{random} of {optimal}");
    let ceiling = family.search_ceiling().unwrap();
    assert!(ceiling.windows(2).all(|w| w[0] < w[1]), "what is found is not forgotten");
    assert!(ceiling[0] > random / optimal && ceiling[200] > 0.99);
    // Nobody is paid by what was not swept: a step sweeps an area of `2 r s` at most, of the area that holds the middles of platforms, and
    // who stands on the platform after step t is paid 51 - t times.
    let area = std::f32::consts::PI * (PLATFORMS_M[1].powi(2) - PLATFORMS_M[0].powi(2));
    let swept = 2.0 * PLATFORM_RADIUS_M * STEP_M / area;
    let most = (1..=50).map(|t| (51 - t) as f32 * swept).sum::<f32>() / optimal;
    assert!(ceiling[0] < most && most < 0.4, "{} of {most}", ceiling[0]);
}

#[test]
fn the_spec_is_the_picture_and_settings_out_of_range_are_named() {
    let env = WatermazeConfig::default().build(&EnvContext::default()).unwrap();
    assert_eq!((env.spec().observation_dim(), env.spec().max_steps), (72 * 96 * 3, 50));
    let names: BTreeSet<&str> = env.spec().observation.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names.len(), 72 * 96 * 3, "every number has a name of its own");
    assert_eq!(env.spec().observation[3 * (96 + 2) + 1].name, "green_1_2");
    let frame = env.render(24, 18).unwrap();
    assert_eq!((frame.width, frame.height, frame.rgb.len()), (24, 18, 24 * 18 * 3));
    let cases = [
        (WatermazeConfig { rows: 0, ..WatermazeConfig::default() }, "rows = 0: expected 1 to 512 pixels"),
        (
            WatermazeConfig { columns: 1000, ..WatermazeConfig::default() },
            "columns = 1000: expected 1 to 512",
        ),
        (WatermazeConfig { horizon: 0, ..WatermazeConfig::default() }, "horizon must be at least 1, found 0"),
        (
            WatermazeConfig { platform_m: [1.7, 1.0], ..WatermazeConfig::default() },
            "platform_m = [1.7, 1.0]: expected x and y, at most 1.75 m from the middle",
        ),
        (
            WatermazeConfig { platform_m: [f64::NAN, 0.0], ..WatermazeConfig::default() },
            "platform_m = [NaN, 0.0]",
        ),
    ];
    for (config, expected) in cases {
        let said = config.build(&EnvContext::default()).err().unwrap().to_string();
        assert!(said.contains(expected), "{said}");
    }
    let mut small = pool([0.9, 0.0]);
    let mut seen = vec![0.0; 9 * 12 * 3];
    small.reset(0, &mut seen).unwrap();
    let said = small.step(&[8.0], &mut seen, &mut [0.0]).unwrap_err().to_string();
    assert_eq!(said, "environment watermaze: action move is 8, expected a whole number from 0 to 7");
    assert!(small.reset(0, &mut seen[1..]).is_err());
}
