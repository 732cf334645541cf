//! Files that `write` would refuse to write.

use std::path::{Path, PathBuf};

use hdf5_pure::{AttrValue, FileBuilder, GroupBuilder};

/// A file with one episode that `demo` fills, and text attributes of `data`.
pub fn file(directory: &Path, attributes: &[(&str, &str)], demo: impl Fn(&mut GroupBuilder)) -> PathBuf {
    file_of(directory, attributes, 1, |_, group| demo(group), &[])
}

/// A file with that many episodes and one mask, if it has members.
pub fn file_of(
    directory: &Path,
    attributes: &[(&str, &str)],
    demos: usize,
    demo: impl Fn(usize, &mut GroupBuilder),
    mask: &[&str],
) -> PathBuf {
    let mut file = FileBuilder::new();
    let mut data = file.create_group("data");
    for (name, value) in attributes {
        data.set_attr(name, AttrValue::VarLenString((*value).to_owned()));
    }
    for i in 0..demos {
        let mut group = data.create_group(&format!("demo_{i}"));
        demo(i, &mut group);
        data.add_group(group.finish());
    }
    file.add_group(data.finish());
    if !mask.is_empty() {
        let mut group = file.create_group("mask");
        group.create_dataset("train").with_ascii_strings(mask).unwrap();
        file.add_group(group.finish());
    }
    let path = directory.join("hand_made.hdf5");
    std::fs::write(&path, file.finish().unwrap()).unwrap();
    path
}

/// `rows` rows of `width` different numbers.
pub fn array(group: &mut GroupBuilder, name: &str, rows: usize, width: usize) {
    let data: Vec<f32> = (0..rows * width).map(|i| i as f32 / (rows * width) as f32).collect();
    group.create_dataset(name).with_f32_data(&data).with_shape(&[rows as u64, width as u64]);
}

/// Rows of nothing: a file of any length can claim any number of them.
pub fn no_columns(group: &mut GroupBuilder, name: &str, rows: u64) {
    group.create_dataset(name).with_dtype(hdf5_pure::make_f32_type()).with_shape(&[rows, 0]);
}

/// Four rows of one action and two observations.
pub fn sound(group: &mut GroupBuilder) {
    array(group, "actions", 4, 1);
    array(group, "rewards", 4, 1);
    observed(group, 4, 2);
}

/// `obs/flat`.
pub fn observed(group: &mut GroupBuilder, rows: usize, width: usize) {
    let mut obs = group.create_group("obs");
    array(&mut obs, "flat", rows, width);
    group.add_group(obs.finish());
}
