//! A recording that its writer split into several files: a rosbag2 directory.

use std::path::{Path, PathBuf};

use surefoot_core::DataError;

use super::{LogEnd, LogOptions, LogSource, TopicInfo, Visit, files_of, open_log};

#[derive(Debug)]
struct SplitLog {
    path: PathBuf,
    files: Vec<Box<dyn LogSource>>,
}

pub(super) fn open(path: &Path, options: &LogOptions) -> Result<Box<dyn LogSource>, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let paths = files_of(path, "mcap").map_err(io)?;
    if paths.is_empty() {
        let sqlite = !files_of(path, "db3").map_err(io)?.is_empty();
        let (reason, hint) = if sqlite {
            (
                "a rosbag2 recording in SQLite, which is not read",
                "convert it: `ros2 bag convert -i RECORDING -o out.yaml` with `storage_id: mcap` in out.yaml",
            )
        } else {
            ("a directory without MCAP files", "name the files, or the directory that `ros2 bag record` made")
        };
        return Err(DataError::Malformed {
            path: path.to_owned(),
            format: "log",
            reason: reason.into(),
            hint,
        });
    }
    let files = paths.iter().map(|p| open_log(p, options)).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(SplitLog { path: path.to_owned(), files }))
}

impl LogSource for SplitLog {
    fn path(&self) -> &Path {
        &self.path
    }

    fn format(&self) -> &'static str {
        self.files.first().map_or("log", |f| f.format())
    }

    fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes()).sum()
    }

    fn read(&self, wanted: &dyn Fn(&str) -> bool, visit: &mut Visit<'_>) -> Result<LogEnd, DataError> {
        let mut before = 0;
        let mut end = LogEnd::Whole;
        for file in &self.files {
            let found =
                file.read(wanted, &mut |m| visit(&super::Message { offset: before + m.offset, ..*m }))?;
            match found {
                LogEnd::Whole => {}
                LogEnd::Stopped => return Ok(LogEnd::Stopped),
                // The last file of a recording that was cut off; what follows another one is still in order.
                LogEnd::Torn(why) => end = LogEnd::Torn(format!("{}: {why}", file.path().display())),
            }
            before += file.bytes();
        }
        Ok(end)
    }

    fn topics(&self) -> Result<Vec<TopicInfo>, DataError> {
        let mut all = std::collections::BTreeMap::<String, TopicInfo>::new();
        for file in &self.files {
            for topic in file.topics()? {
                match all.get_mut(&topic.name) {
                    None => {
                        all.insert(topic.name.clone(), topic);
                    }
                    Some(known) => {
                        known.messages += topic.messages;
                        known.first_nanos = known.first_nanos.into_iter().chain(topic.first_nanos).min();
                        known.last_nanos = known.last_nanos.into_iter().chain(topic.last_nanos).max();
                    }
                }
            }
        }
        Ok(all.into_values().collect())
    }
}
