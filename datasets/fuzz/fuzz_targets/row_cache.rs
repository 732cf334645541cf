#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_core::{Batch, Stream};
use surefoot_datasets::{CacheOptions, RowCache};
use surefoot_datasets_fuzz::with_file;

fuzz_target!(|bytes: &[u8]| with_file("fuzzed.rows", bytes, |path| {
    let options = CacheOptions { resident_bytes: 64, ..CacheOptions::default() };
    if let Ok(cache) = RowCache::open(path, &options) {
        let mut batch = Batch::default();
        batch.clear(cache.observation_dim(), cache.action_dim());
        let _ = cache.sample_n_step(4, 3, 0.9, &mut Stream::new(0, "fuzz", 0), &mut batch);
    }
}));
