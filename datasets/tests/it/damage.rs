//! Hostile bytes: whatever is cut off or flipped, the answer is an error or data, never a crash, and soon.

use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;
use surefoot_core::Episode;
use surefoot_datasets::{OpenOptions, Recording, info, open_with, read_all, verify, write};

use crate::episodes::{episode, fixture, spec};

/// Opens and reads everything that can be read. Returns whether all of it could.
fn read_everything(path: &Path) -> bool {
    let options = OpenOptions { lenient: true, ..Default::default() };
    let _ = info(path, &options);
    let _ = verify(path, &OpenOptions::default());
    let Ok(source) = open_with(path, &options) else { return false };
    let indices: Vec<usize> = (0..source.len()).collect();
    read_all(&*source, &indices).is_ok()
}

fn our_file() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("push.hdf5");
    let episodes: Vec<Episode> = (0..2).map(|i| episode(i, 3, 2, 4, 1)).collect();
    write(&path, &Recording::new(spec(3, 2)).with_split(2, 0.5, 0), &episodes).unwrap();
    std::fs::read(&path).unwrap()
}

const THEIRS: [&str; 10] = [
    "robomimic_flags.hdf5",
    "d4rl_timeouts.hdf5",
    "robosuite_0_3.hdf5",
    "robomimic_dones.hdf5",
    "peers/robosuite_two_arm.hdf5",
    "peers/aloha/episode_2.hdf5",
    "peers/aloha/episode_10.hdf5",
    "peers/libero_demo.hdf5",
    "peers/droid/Fri_0/trajectory.h5",
    "peers/minari/nested/data/main_data.hdf5",
];

/// One file of each kind: ours, and those of other producers.
fn victims() -> &'static [Vec<u8>] {
    static VICTIMS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    VICTIMS.get_or_init(|| {
        let theirs = THEIRS.iter().map(|n| std::fs::read(fixture(n)).unwrap());
        std::iter::once(our_file()).chain(theirs).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_truncated_file_is_an_error(victim in 0..=THEIRS.len(), share in 0.0_f64..1.0) {
        let bytes = victims()[victim].clone();
        let length = ((bytes.len() - 1) as f64 * share) as usize;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cut.hdf5");
        std::fs::write(&path, &bytes[..length]).unwrap();
        prop_assert!(!read_everything(&path), "{} of {} bytes", length, bytes.len());
    }

    // The C library may loop for ever on such bytes (2.2.0: a heap object of no length): what it is given here are whole files.
    #[cfg(not(feature = "libhdf5"))]
    #[test]
    fn flipped_bytes_never_crash(
        victim in 0..=THEIRS.len(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = victims()[victim].clone();
        for (at, value) in &flips {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flipped.hdf5");
        std::fs::write(&path, &bytes).unwrap();
        read_everything(&path);
    }

    #[cfg(not(feature = "libhdf5"))]
    #[test]
    fn lengths_that_lie_never_crash(
        victim in 0..=THEIRS.len(),
        at in any::<prop::sample::Index>(),
        length in prop::sample::select(vec![0_u64, 1, 0x7fff_ffff, 0xffff_ffff, 1 << 40, i64::MAX as u64, u64::MAX]),
    ) {
        let mut bytes = victims()[victim].clone();
        // Lengths and addresses are eight bytes, and everything in these files stands on even addresses.
        let at = at.index(bytes.len() / 2 - 4) * 2;
        bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lying.hdf5");
        std::fs::write(&path, &bytes).unwrap();
        read_everything(&path);
    }

    #[test]
    fn arbitrary_manifests_and_metadata_never_crash(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
    ) {
        // Arbitrary bytes, and real ones with a stretch of arbitrary bytes in them.
        let ours = br#"{"file":"ep_000000.hdf5","bytes":9,"blake3":"00","episode":"a","steps":4,"return":-3.0,"success":true,"interventions":2,"source":null,"policy_version":null,"seed":17}
{"file":"ep_18446744073709551615.hdf5","bytes":9,"blake3":"00","episode":"a","steps":4,"return":-3.0,"success":true,"interventions":2,"source":null,"policy_version":null,"seed":17}
{"finished":1}
"#;
        let theirs = std::fs::read(fixture("peers/minari/rows/data/metadata.json")).unwrap();
        let spliced = |real: &[u8]| {
            let (at, to) = (cut.index(real.len()), flip.index(real.len()));
            let mut all = real[..at.min(to)].to_vec();
            all.extend(&bytes);
            all.extend(&real[at.max(to)..]);
            all
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::write(path.join("ep_000001.hdf5"), our_file_once()).unwrap();
        for manifest in [bytes.clone(), spliced(ours)] {
            std::fs::write(path.join("manifest.jsonl"), manifest).unwrap();
            read_everything(path);
        }
        let data = tempfile::tempdir().unwrap();
        let main = fixture("peers/minari/rows/data/main_data.hdf5");
        std::fs::copy(main, data.path().join("main_data.hdf5")).unwrap();
        for metadata in [bytes.clone(), spliced(&theirs)] {
            std::fs::write(data.path().join("metadata.json"), metadata).unwrap();
            read_everything(data.path());
        }
    }
}

fn our_file_once() -> &'static [u8] {
    &victims()[0]
}
