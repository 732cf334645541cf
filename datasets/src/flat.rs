//! An HDF5 file of a few contiguous arrays, written from front to back in bounded memory.
//!
//! `hdf5-pure` writes an array of rows in one piece or not at all, which no dataset larger than memory can be. What is needed for flat
//! columns is little: a superblock, a symbol table for each group, an object header for each array, and their bytes, as h5py lays them out
//! when it is asked for the earliest format (superblock 0, version 1 headers). Every reader of HDF5 knows that layout.
//! Specification: "HDF5 File Format Specification" versions 1.0 to 3.0, sections II.A, III.A, III.C, III.D and IV.A.

use std::io::{BufWriter, Error as IoError, Seek, SeekFrom, Write};
use std::path::Path;

use surefoot_core::DataError;

use crate::durable::Unnamed;

/// What the elements of an array are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 32-bit floats.
    F32,
    /// Booleans as h5py writes them.
    Flag,
}

impl Kind {
    const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Flag => 1,
        }
    }

    /// The datatype message.
    fn message(self) -> Vec<u8> {
        match self {
            // Class 1, version 1; little-endian, an implied leading bit, the sign at bit 31; 4 bytes; 8 bits of exponent with bias 127.
            Self::F32 => {
                let mut m = vec![0x11, 0x20, 31, 0];
                m.extend(4_u32.to_le_bytes());
                m.extend([0, 0, 32, 0, 23, 8, 0, 23]);
                m.extend(127_u32.to_le_bytes());
                m
            }
            // Class 8, version 1; two members; 1 byte; of signed bytes; the names; the values.
            Self::Flag => {
                let mut m = vec![0x18, 2, 0, 0];
                m.extend(1_u32.to_le_bytes());
                m.extend([0x10, 0x08, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0]);
                m.extend(b"FALSE\0\0\0TRUE\0\0\0\0");
                m.extend([0, 1]);
                m
            }
        }
    }
}

/// An array that grows by its first axis. Its bytes wait on the disk.
#[derive(Debug)]
pub(crate) struct FlatArray {
    name: &'static str,
    kind: Kind,
    /// Numbers in a row; 0 for an array of one axis.
    width: u64,
    bytes: u64,
    file: BufWriter<Part>,
}

#[derive(Debug)]
struct Part(Unnamed);

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.file.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.file.flush()
    }
}

impl FlatArray {
    /// An empty one; its bytes wait beside `path`.
    pub(crate) fn new(path: &Path, name: &'static str, kind: Kind, width: usize) -> Result<Self, DataError> {
        let file = BufWriter::with_capacity(1 << 16, Part(Unnamed::beside(path)?));
        Ok(Self { name, kind, width: width as u64, bytes: 0, file })
    }

    /// Appends numbers.
    pub(crate) fn floats(&mut self, numbers: &[f32]) -> std::io::Result<()> {
        numbers.iter().try_for_each(|x| self.file.write_all(&x.to_le_bytes()))?;
        self.bytes += numbers.len() as u64 * 4;
        Ok(())
    }

    /// Appends flags.
    pub(crate) fn flags(&mut self, flags: impl Iterator<Item = bool>) -> std::io::Result<()> {
        for flag in flags {
            self.file.write_all(&[u8::from(flag)])?;
            self.bytes += 1;
        }
        Ok(())
    }

    fn shape(&self) -> Vec<u64> {
        let rows = self.bytes / self.kind.bytes() / self.width.max(1);
        if self.width == 0 { vec![rows] } else { vec![rows, self.width] }
    }

    fn header(&self, at: u64) -> Vec<u8> {
        dataset_header(&self.shape(), &self.kind.message(), at, self.bytes)
    }
}

const UNDEFINED: u64 = u64::MAX;
/// Entries of a symbol table node: twice its K.
const NODE_ENTRIES: usize = 8;
const NODE_BYTES: u64 = 8 + 40 * NODE_ENTRIES as u64;
/// A tree node with K = 16.
const TREE_BYTES: u64 = 24 + 8 * (2 * 32 + 1);
const SUPERBLOCK_BYTES: u64 = 96;
const GROUP_HEADER_BYTES: u64 = 16 + 8 + 16;
const HEAP_HEADER_BYTES: u64 = 32;

fn padded(n: u64) -> u64 {
    n.next_multiple_of(8)
}

fn message(kind: u16, data: &[u8], out: &mut Vec<u8>) {
    let size = padded(data.len() as u64);
    out.extend(kind.to_le_bytes());
    out.extend((size as u16).to_le_bytes());
    out.extend([0; 4]);
    out.extend(data);
    out.resize(out.len() + size as usize - data.len(), 0);
}

fn object_header(messages: u16, body: &[u8]) -> Vec<u8> {
    let mut out = vec![1, 0];
    out.extend(messages.to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    out.extend((body.len() as u32).to_le_bytes());
    out.extend([0; 4]);
    out.extend(body);
    out
}

fn dataset_header(shape: &[u64], datatype: &[u8], at: u64, bytes: u64) -> Vec<u8> {
    let mut body = Vec::new();
    let mut space = vec![1, shape.len() as u8, 0, 0, 0, 0, 0, 0];
    space.extend(shape.iter().flat_map(|n| n.to_le_bytes()));
    message(0x1, &space, &mut body);
    message(0x3, datatype, &mut body);
    // Version 2; allocated late, filled where set, with the default.
    message(0x5, &[2, 2, 2, 1, 0, 0, 0, 0], &mut body);
    let mut layout = vec![3, 1];
    layout.extend(if bytes == 0 { UNDEFINED } else { at }.to_le_bytes());
    layout.extend(bytes.to_le_bytes());
    message(0x8, &layout, &mut body);
    object_header(4, &body)
}

/// An entry of a group: a name, where its header is, and, of a group, its tree and heap.
struct Entry<'n> {
    name: &'n str,
    header: u64,
    group: Option<(u64, u64)>,
}

fn symbol(name_offset: u64, entry: &Entry<'_>, out: &mut Vec<u8>) {
    out.extend(name_offset.to_le_bytes());
    out.extend(entry.header.to_le_bytes());
    out.extend(u32::from(entry.group.is_some()).to_le_bytes());
    out.extend([0; 4]);
    let (tree, heap) = entry.group.unwrap_or((0, 0));
    out.extend(tree.to_le_bytes());
    out.extend(heap.to_le_bytes());
}

/// Bytes of a group with these names.
fn group_bytes(names: &[&str]) -> u64 {
    GROUP_HEADER_BYTES + TREE_BYTES + NODE_BYTES + HEAP_HEADER_BYTES + heap_bytes(names)
}

fn heap_bytes(names: &[&str]) -> u64 {
    8 + names.iter().map(|n| padded(n.len() as u64 + 1)).sum::<u64>()
}

/// A group at `at`: header, tree, symbols, heap. `entries` are sorted by name, at most [`NODE_ENTRIES`].
fn group(at: u64, entries: &[Entry<'_>]) -> Vec<u8> {
    let tree = at + GROUP_HEADER_BYTES;
    let node = tree + TREE_BYTES;
    let heap = node + NODE_BYTES;
    let mut table = Vec::new();
    table.extend(tree.to_le_bytes());
    table.extend(heap.to_le_bytes());
    let mut body = Vec::new();
    message(0x11, &table, &mut body);
    let mut out = object_header(1, &body);

    let mut names = vec![0; 8];
    let mut symbols = Vec::new();
    let mut last = 0;
    for entry in entries {
        last = names.len() as u64;
        symbol(last, entry, &mut symbols);
        names.extend(entry.name.as_bytes());
        names.resize(padded(names.len() as u64 + 1) as usize, 0);
    }
    let mut part = b"TREE\0\0".to_vec();
    part.extend(1_u16.to_le_bytes());
    for word in [UNDEFINED, UNDEFINED, 0, node, last] {
        part.extend(word.to_le_bytes());
    }
    part.resize(TREE_BYTES as usize, 0);
    out.extend(&part);
    part = b"SNOD\x01\0".to_vec();
    part.extend((entries.len() as u16).to_le_bytes());
    part.extend(symbols);
    part.resize(NODE_BYTES as usize, 0);
    out.extend(&part);
    out.extend(b"HEAP\0\0\0\0");
    for word in [names.len() as u64, 1, heap + HEAP_HEADER_BYTES] {
        out.extend(word.to_le_bytes());
    }
    out.extend(&names);
    out
}

/// Writes the file `to`: the arrays at its top, and `metadata/env` with a text.
pub(crate) fn write_flat(to: &Path, mut arrays: Vec<FlatArray>, env: &str) -> std::io::Result<()> {
    arrays.sort_by_key(|a| a.name);
    let text = if env.is_empty() { " " } else { env };
    let mut string = vec![0x13, 0x11, 0, 0];
    string.extend((text.len() as u32).to_le_bytes());
    let top: Vec<&str> = arrays.iter().map(|a| a.name).collect();
    let names = [top.as_slice(), &["metadata"]].concat();
    if names.len() > NODE_ENTRIES {
        return Err(IoError::other("the arrays have no place in one symbol table"));
    }

    // Where everything is: groups, headers, then bytes.
    let root = SUPERBLOCK_BYTES;
    let metadata = root + group_bytes(&names);
    let mut at = metadata + group_bytes(&["env"]);
    let text_header = at;
    at += dataset_header(&[], &string, 0, text.len() as u64).len() as u64;
    let mut headers = Vec::new();
    for array in &arrays {
        headers.push(at);
        at += array.header(0).len() as u64;
    }
    let text_at = at;
    at += padded(text.len() as u64);
    let mut places = Vec::new();
    for array in &arrays {
        places.push(at);
        at += padded(array.bytes);
    }

    let tables =
        |group: u64| (group + GROUP_HEADER_BYTES, group + GROUP_HEADER_BYTES + TREE_BYTES + NODE_BYTES);
    let mut head = b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0".to_vec();
    head.extend((NODE_ENTRIES as u16 / 2).to_le_bytes());
    head.extend(16_u16.to_le_bytes());
    head.extend([0; 4]);
    for word in [0, UNDEFINED, at, UNDEFINED] {
        head.extend(word.to_le_bytes());
    }
    symbol(0, &Entry { name: "", header: root, group: Some(tables(root)) }, &mut head);
    let mut entries: Vec<Entry<'_>> = arrays
        .iter()
        .zip(&headers)
        .map(|(a, header)| Entry { name: a.name, header: *header, group: None })
        .collect();
    entries.push(Entry { name: "metadata", header: metadata, group: Some(tables(metadata)) });
    entries.sort_by_key(|e| e.name);
    head.extend(group(root, &entries));
    head.extend(group(metadata, &[Entry { name: "env", header: text_header, group: None }]));
    head.extend(dataset_header(&[], &string, text_at, text.len() as u64));
    for (array, place) in arrays.iter().zip(&places) {
        head.extend(array.header(*place));
    }
    head.extend(text.as_bytes());
    head.resize(padded(head.len() as u64) as usize, 0);

    let mut out = BufWriter::with_capacity(1 << 16, std::fs::File::create_new(to)?);
    out.write_all(&head)?;
    for array in arrays {
        let mut part = array.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        part.0.file.seek(SeekFrom::Start(0))?;
        let copied = std::io::copy(&mut part.0.file, &mut out)?;
        if copied != array.bytes {
            return Err(IoError::other("the temporary file beside it was changed"));
        }
        out.write_all(&[0; 8][..(padded(copied) - copied) as usize])?;
    }
    out.flush()
}
