//! A recording that its writer split into several files: a rosbag2 directory.

use std::io::Read;
use std::path::{Path, PathBuf};

use surefoot_core::DataError;

use super::{LogEnd, LogOptions, LogSource, TopicInfo, Visit, files_of, open_log};

const METADATA: &str = "metadata.yaml";

/// A list of names that is longer is none.
const MAX_METADATA_BYTES: u64 = 64 << 20;

#[derive(Debug)]
struct SplitLog {
    path: PathBuf,
    files: Vec<Box<dyn LogSource>>,
    /// Files that the recording lists and that are not there.
    missing: Vec<String>,
}

/// The files that `metadata.yaml` lists, in their order; none where there is no such file.
fn listed(path: &Path) -> std::io::Result<Vec<String>> {
    let mut text = String::new();
    match std::fs::File::open(path.join(METADATA)) {
        Ok(file) => file.take(MAX_METADATA_BYTES).read_to_string(&mut text)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    // All that is looked for in it is one list of names.
    let mut lines = text.lines().map(str::trim).skip_while(|l| *l != "relative_file_paths:").skip(1);
    let mut names = Vec::new();
    for name in lines.by_ref().map_while(|l| l.strip_prefix("- ")) {
        let name = name.trim().trim_matches(['"', '\'']);
        // Old recorders wrote the directory's own name before it.
        let name = name.rsplit('/').next().unwrap_or(name);
        names.push(name.to_owned());
    }
    Ok(names)
}

/// The files of a recording that are there, in their order.
pub(super) fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let named: Vec<PathBuf> =
        listed(path)?.iter().map(|name| path.join(name)).filter(|p| p.is_file()).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let mcap = files_of(path, "mcap")?;
    if mcap.is_empty() { files_of(path, "db3") } else { Ok(mcap) }
}

pub(super) fn open(path: &Path, options: &LogOptions) -> Result<Box<dyn LogSource>, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let paths = files(path).map_err(io)?;
    if paths.is_empty() {
        return Err(DataError::Malformed {
            path: path.to_owned(),
            format: "log",
            reason: "a directory without MCAP or SQLite (.db3) files".into(),
            hint: "name the files, or the directory that `ros2 bag record` made",
        });
    }
    let missing = listed(path).map_err(io)?.into_iter().filter(|name| !path.join(name).is_file()).collect();
    let files = paths.iter().map(|p| open_log(p, options)).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(SplitLog { path: path.to_owned(), files, missing }))
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
        if let (Some(first), LogEnd::Whole) = (self.missing.first(), &end) {
            let n = self.missing.len();
            end =
                LogEnd::Torn(format!("{METADATA} lists {n} files that are not there, the first is {first}"));
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
