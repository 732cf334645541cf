//! Columns of a parquet file, by name, as rows of numbers.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use surefoot_core::DataError;

use super::NAME;

/// Records that are read in one go.
const BATCH: usize = 1 << 16;

/// Numbers of a column for each byte of its file, at most: what run lengths and dictionaries can honestly make of one.
const MAX_NUMBERS_PER_BYTE: u64 = 1024;

/// A column of numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Numbers {
    /// Numbers of a row.
    pub width: usize,
    /// `[rows, width]`; NaN where nothing is stored.
    pub data: Vec<f64>,
}

impl Numbers {
    pub fn rows(&self) -> usize {
        self.data.len().checked_div(self.width).unwrap_or(0)
    }
    pub fn row(&self, index: usize) -> Option<&[f64]> {
        self.data.get(index * self.width..(index + 1) * self.width)
    }
    /// The only number of a row.
    pub fn one(&self, index: usize) -> Option<f64> {
        self.row(index).and_then(|r| r.first()).copied()
    }
}

/// A parquet file.
pub(super) struct Columns {
    path: PathBuf,
    bytes: u64,
    reader: SerializedFileReader<File>,
    /// Leaves by the name of the top-level column they belong to.
    leaves: BTreeMap<String, Vec<usize>>,
}

const MEND: &str =
    "the file looks truncated or damaged: copy or record it again, or take its episodes out of the dataset";

impl Columns {
    pub fn open(path: &Path) -> Result<Self, DataError> {
        crate::input::check_regular(path)?;
        let io = |source| DataError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let fail =
            |reason: String| DataError::Malformed { path: path.to_owned(), format: NAME, reason, hint: MEND };
        let reader = guarded(|| SerializedFileReader::new(file)).map_err(|e| {
            let what = if bytes < 12 || matches!(e, ParquetError::EOF(_) | ParquetError::General(_)) {
                "it has no readable footer, as after a recording that was cut off"
            } else {
                "it is not parquet"
            };
            fail(format!("{what} ({e})"))
        })?;
        check_places(&reader, bytes).map_err(fail)?;
        let mut leaves: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (i, column) in reader.metadata().file_metadata().schema_descr().columns().iter().enumerate() {
            if let Some(root) = column.path().parts().first() {
                leaves.entry(root.clone()).or_default().push(i);
            }
        }
        Ok(Self { path: path.to_owned(), bytes, reader, leaves })
    }

    pub fn has(&self, name: &str) -> bool {
        self.leaves.contains_key(name)
    }

    fn fail(&self, name: &str, reason: impl std::fmt::Display) -> DataError {
        let reason = format!("column {name:?}: {reason}");
        DataError::Malformed { path: self.path.clone(), format: NAME, reason, hint: MEND }
    }

    fn shape(&self, name: &str, expected: &str, found: impl Into<String>) -> DataError {
        DataError::Shape {
            path: self.path.clone(),
            item: format!("column {name}"),
            expected: expected.to_owned(),
            found: found.into(),
        }
    }

    /// Reads a column of numbers or lists of numbers, all rows equally long.
    pub fn numbers(&self, name: &str) -> Result<Numbers, DataError> {
        guarded(|| Ok(self.read_numbers(name))).unwrap_or_else(|e| Err(self.fail(name, e)))
    }

    fn read_numbers(&self, name: &str) -> Result<Numbers, DataError> {
        let leaf = match self.leaves.get(name).map(Vec::as_slice) {
            Some([leaf]) => *leaf,
            Some(_) => return Err(self.shape(name, "numbers", "a structure")),
            None => {
                let known: Vec<&str> = self.leaves.keys().take(20).map(String::as_str).collect();
                return Err(self.shape(name, "present", format!("only {}", known.join(", "))));
            }
        };
        let mut rows = Rows { limit: self.bytes.saturating_mul(MAX_NUMBERS_PER_BYTE), ..Rows::default() };
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let descriptor = schema.column(leaf);
        let (max_def, max_rep) = (descriptor.max_def_level(), descriptor.max_rep_level());
        for group in 0..self.reader.num_row_groups() {
            let group = self.reader.get_row_group(group).map_err(|e| self.fail(name, e))?;
            let column = group.get_column_reader(leaf).map_err(|e| self.fail(name, e))?;
            let read = match column {
                ColumnReader::FloatColumnReader(r) => rows.take(r, max_def, max_rep, |x| f64::from(*x)),
                ColumnReader::DoubleColumnReader(r) => rows.take(r, max_def, max_rep, |x| *x),
                ColumnReader::Int32ColumnReader(r) => rows.take(r, max_def, max_rep, |x| f64::from(*x)),
                ColumnReader::Int64ColumnReader(r) => rows.take(r, max_def, max_rep, |x| *x as f64),
                ColumnReader::BoolColumnReader(r) => {
                    rows.take(r, max_def, max_rep, |x| f64::from(u8::from(*x)))
                }
                _ => return Err(self.shape(name, "numbers", "text or bytes")),
            };
            read.map_err(|e| self.fail(name, e))?;
        }
        rows.finish().map_err(|e| self.shape(name, "rows of equal length", e))
    }

    /// Reads a column of texts, one in a row.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, DataError> {
        guarded(|| Ok(self.read_texts(name))).unwrap_or_else(|e| Err(self.fail(name, e)))
    }

    fn read_texts(&self, name: &str) -> Result<Vec<String>, DataError> {
        let Some([leaf]) = self.leaves.get(name).map(Vec::as_slice) else {
            return Err(self.shape(name, "a column of texts", "none"));
        };
        let mut texts = Vec::new();
        for group in 0..self.reader.num_row_groups() {
            let group = self.reader.get_row_group(group).map_err(|e| self.fail(name, e))?;
            let column = group.get_column_reader(*leaf).map_err(|e| self.fail(name, e))?;
            let ColumnReader::ByteArrayColumnReader(mut reader) = column else {
                return Err(self.shape(name, "texts", "numbers"));
            };
            loop {
                let (mut def, mut rep, mut values) = (Vec::new(), Vec::new(), Vec::new());
                let (records, ..) = reader
                    .read_records(BATCH, Some(&mut def), Some(&mut rep), &mut values)
                    .map_err(|e| self.fail(name, e))?;
                if records == 0 {
                    break;
                }
                texts.extend(values.iter().map(|v| String::from_utf8_lossy(v.data()).into_owned()));
                if texts.len() as u64 > self.bytes.saturating_mul(MAX_NUMBERS_PER_BYTE) {
                    return Err(self.fail(name, TOO_MANY));
                }
            }
        }
        Ok(texts)
    }
}

/// Runs the parquet library. It answers most damaged files with an error and some with a panic; that becomes an error here.
fn guarded<T>(run: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    let gave_up = || Err(ParquetError::General("the parquet library could not make sense of it".into()));
    crate::caught::caught(run).unwrap_or_else(gave_up)
}

/// The library takes offsets and lengths on trust.
fn check_places(reader: &SerializedFileReader<File>, bytes: u64) -> Result<(), String> {
    for group in reader.metadata().row_groups() {
        if group.num_rows() < 0 {
            return Err(format!("a group of {} rows", group.num_rows()));
        }
        for column in group.columns() {
            let starts = [Some(column.data_page_offset()), column.dictionary_page_offset()];
            let size = u64::try_from(column.compressed_size());
            let outside = |start: i64| {
                let end = u64::try_from(start).ok().zip(size.ok()).and_then(|(s, n)| s.checked_add(n));
                end.is_none_or(|end| end > bytes)
            };
            // A dictionary stands before the pages, and the length counts from it.
            let first = starts.iter().flatten().min().copied().unwrap_or(0);
            if starts.iter().flatten().any(|s| *s < 0) || outside(first) || column.num_values() < 0 {
                let name = column.column_path().string();
                return Err(format!("its footer says that column {name} is where the file is not"));
            }
        }
    }
    Ok(())
}

const TOO_MANY: &str = "it claims more than a file of this length can hold";

/// Rows as they come out of the levels of a column.
#[derive(Default)]
struct Rows {
    data: Vec<f64>,
    width: Option<usize>,
    /// Numbers of the row in hand.
    open: Option<usize>,
    rows: usize,
    ragged: Option<String>,
    limit: u64,
}

impl Rows {
    fn take<T: DataType>(
        &mut self,
        mut reader: ColumnReaderImpl<T>,
        max_def: i16,
        max_rep: i16,
        number: impl Fn(&T::T) -> f64,
    ) -> Result<(), ParquetError> {
        let (mut def, mut rep, mut values) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            def.clear();
            rep.clear();
            values.clear();
            let (records, _, levels) =
                reader.read_records(BATCH, Some(&mut def), Some(&mut rep), &mut values)?;
            if records == 0 && levels == 0 {
                return Ok(());
            }
            let mut values = values.iter();
            for level in 0..levels {
                let begins = max_rep == 0 || rep.get(level).copied().unwrap_or(0) == 0;
                if begins {
                    self.close();
                    self.open = Some(0);
                }
                let defined = if max_def == 0 { max_def } else { def.get(level).copied().unwrap_or(0) };
                let x = if defined == max_def {
                    values.next().map_or(f64::NAN, &number)
                } else if max_rep == 0 || defined + 1 == max_def {
                    f64::NAN // A number that is not there.
                } else {
                    continue; // A list that is not there, or empty.
                };
                self.data.push(x);
                self.open = self.open.map(|n| n + 1);
            }
            if self.data.len().max(self.rows) as u64 > self.limit {
                return Err(ParquetError::General(TOO_MANY.into()));
            }
        }
    }

    fn close(&mut self) {
        let Some(found) = self.open.take() else { return };
        let width = *self.width.get_or_insert(found);
        if width != found && self.ragged.is_none() {
            self.ragged = Some(format!("{found} numbers in row {} and {width} before", self.rows));
        }
        self.rows += 1;
    }

    fn finish(mut self) -> Result<Numbers, String> {
        self.close();
        match (self.ragged, self.width) {
            (Some(why), _) => Err(why),
            (None, Some(0)) => Err("rows without numbers".into()),
            (None, width) => Ok(Numbers { width: width.unwrap_or(1), data: self.data }),
        }
    }
}
