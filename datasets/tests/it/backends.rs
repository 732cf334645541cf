//! What the pure backend refuses, and that both backends agree on everything else.

use surefoot_core::DataError;
use surefoot_datasets::{Backend, OpenOptions, open_with, read_all};

use crate::episodes::fixture;

fn pure(name: &str) -> Result<usize, DataError> {
    let options = OpenOptions { backend: Backend::Pure, ..Default::default() };
    let source = open_with(&fixture(name), &options)?;
    Ok(read_all(&*source, &(0..source.len()).collect::<Vec<_>>())?.len())
}

#[test]
#[cfg(not(feature = "libhdf5"))]
fn exotic_files_name_the_way_out() {
    for name in ["links.hdf5", "virtual.hdf5", "layout_5.hdf5", "filter.hdf5"] {
        let error = pure(name).err().unwrap().to_string();
        assert!(error.contains("--features libhdf5"), "{name}: {error}");
    }
    let options = OpenOptions { backend: Backend::LibHdf5, ..Default::default() };
    let error = open_with(&fixture("links.hdf5"), &options).err().unwrap().to_string();
    assert!(error.contains("built without the libhdf5 backend"), "{error}");
}

#[cfg(feature = "libhdf5")]
mod with_the_c_library {
    use surefoot_core::{Episode, EpisodeSource};
    use surefoot_datasets::{Recording, open, write};

    use super::*;
    use crate::episodes::{episode, spec};

    fn with(path: &std::path::Path, backend: Backend) -> Box<dyn EpisodeSource> {
        let options = OpenOptions { backend, lenient: true, ..Default::default() };
        open_with(path, &options).unwrap_or_else(|e| panic!("{backend:?}: {e}"))
    }

    /// Compares by their text, in which NaN equals NaN and every other number is exact.
    fn agree(path: &std::path::Path) {
        let (p, c) = (with(path, Backend::Pure), with(path, Backend::LibHdf5));
        assert_eq!(p.meta(), c.meta(), "{}", path.display());
        for i in 0..p.len() {
            let (a, b): (Result<Episode, _>, Result<Episode, _>) = (p.episode(i), c.episode(i));
            assert_eq!(format!("{a:?}"), format!("{b:?}"), "{} episode {i}", path.display());
        }
    }

    #[test]
    fn both_backends_read_the_same() {
        for name in
            ["robomimic_dones", "robosuite_0_3", "robosuite_1_4", "d4rl_timeouts", "d4rl_next", "ragged"]
        {
            agree(&fixture(&format!("{name}.hdf5")));
        }
        for name in [
            "robomimic_images.hdf5",
            "robosuite_two_arm.hdf5",
            "aloha",
            "libero_demo.hdf5",
            "droid",
            "minari/rows",
            "minari/nested",
        ] {
            agree(&fixture("peers").join(name));
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("push.hdf5");
        let episodes: Vec<Episode> = (0..5).map(|i| episode(i, 5, 2, 6 + i, 1)).collect();
        write(&path, &Recording::new(spec(5, 2)).with_split(5, 0.2, 0), &episodes).unwrap();
        agree(&path);
    }

    #[test]
    fn both_backends_read_the_same_recordings() {
        let Some(folder) = crate::awac::folder() else { return };
        for name in ["adroit_door_human_binary", "walker2d_15expert_100bc"] {
            agree(&folder.join(format!("{name}.hdf5")));
        }
    }

    #[test]
    fn links_and_virtual_datasets_open_through_the_c_library_by_themselves() {
        let source = open(&fixture("links.hdf5")).unwrap();
        assert_eq!(source.len(), 3);
        assert_eq!(source.episode(1).unwrap().len(), 1);
        assert_eq!(source.episode(2).unwrap().len(), 2);
        let source = open(&fixture("virtual.hdf5")).unwrap();
        assert_eq!(source.episode(0).unwrap().observation, [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(open(&fixture("layout_5.hdf5")).unwrap().episode(0).unwrap().len(), 2);
        assert!(pure("filter.hdf5").is_err(), "no backend has that filter");
    }
}
