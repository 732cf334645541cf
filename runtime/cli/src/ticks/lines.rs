//! Ticks as JSON, one object a line, below a [`TicksHeader`].

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Result as IoResult, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use surefoot_engine::control::Tick;

use super::{Gaps, TickCounts, TicksHeader};
use crate::failure::Failure;
use crate::new_file::NewFile;

/// Longest line that is read as a tick: a robot of a hundred joints needs a tenth of it.
const LONGEST_LINE: u64 = 1 << 20;

/// Writes them.
pub struct TickLines {
    to: BufWriter<NewFile>,
    gaps: Gaps,
    ticks: u64,
}

impl TickLines {
    /// Makes the file and writes the header.
    ///
    /// # Errors
    /// When the file exists, or the system refuses.
    pub fn create(path: &Path, header: &TicksHeader) -> Result<Self, Failure> {
        let mut to = BufWriter::new(NewFile::create(path)?);
        serde_json::to_writer(&mut to, header)?;
        to.write_all(b"\n").with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { to, gaps: Gaps::default(), ticks: 0 })
    }

    pub fn keep(&mut self, tick: &Tick) -> IoResult<()> {
        self.gaps.see(tick.tick);
        serde_json::to_writer(&mut self.to, tick)?;
        self.to.write_all(b"\n")?;
        self.ticks += 1;
        Ok(())
    }

    pub fn flush(&mut self) -> IoResult<()> {
        self.to.flush()
    }

    pub fn counts(&self) -> TickCounts {
        TickCounts { ticks: self.ticks, missing: self.gaps.missing, ..TickCounts::default() }
    }
}

/// Reads them.
pub struct Lines<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    line: String,
    number: u64,
    torn: bool,
}

impl<'a> Lines<'a> {
    pub fn open(path: &'a Path) -> Result<Self, Failure> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { path, reader: BufReader::new(file), line: String::new(), number: 0, torn: false })
    }

    pub fn bad(&self, why: &str) -> Failure {
        anyhow!(
            "{}:{}: {why}\n\nhint: ticks come from `surefoot rollout --ticks FILE`",
            self.path.display(),
            self.number
        )
        .into()
    }

    /// The line at which the file was cut off, where it was.
    pub const fn torn(&self) -> Option<u64> {
        if self.torn { Some(self.number) } else { None }
    }

    /// The next line's content. Half a line at the end of a file is what a killed program leaves behind: nothing more is to come.
    pub fn next<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        self.line.clear();
        self.number += 1;
        let read = (&mut self.reader).take(LONGEST_LINE).read_line(&mut self.line);
        match read {
            Ok(0) => Ok(None),
            Ok(n) if n as u64 == LONGEST_LINE => Err(self.bad("a line is too long to be a tick")),
            Ok(_) => match serde_json::from_str(&self.line) {
                Ok(content) => Ok(Some(content)),
                Err(_) if !self.line.ends_with('\n') && self.number > 1 => {
                    self.torn = true;
                    Ok(None)
                }
                Err(e) => Err(self.bad(&e.to_string())),
            },
            Err(e) => Err(self.bad(&e.to_string())),
        }
    }
}
