//! Going through episodes: several at a time, in their order, in bounded memory.

use std::ops::ControlFlow;

use rayon::prelude::*;
use surefoot_core::{DataError, Episode, EpisodeSource};

/// Steps that are decoded side by side at most, as far as the episodes before foretell their lengths.
const STEPS: usize = 1 << 15;

/// Episodes decoded side by side at most.
const EPISODES: usize = 256;

/// Reads the episodes `indices`, lets `map` look at each on several threads, and hands what it made to `take` in the order of the indices.
/// `take` may end the pass. At most one episode for each thread is held, and more of them only while they are short.
pub(crate) fn pass<T: Send, B>(
    source: &dyn EpisodeSource,
    indices: impl ExactSizeIterator<Item = usize> + Clone,
    map: impl Fn(usize, Result<Episode, DataError>) -> T + Sync,
    mut take: impl FnMut(T) -> ControlFlow<B>,
) -> Option<B> {
    let threads = rayon::current_num_threads().max(1);
    let mut rest = indices;
    let mut longest = STEPS;
    loop {
        let block = (STEPS / longest.max(1)).clamp(threads, EPISODES.max(threads));
        let block: Vec<usize> = rest.by_ref().take(block).collect();
        if block.is_empty() {
            return None;
        }
        let made: Vec<(usize, T)> = block
            .into_par_iter()
            .map(|i| {
                let episode = source.episode(i);
                (episode.as_ref().map_or(0, Episode::len), map(i, episode))
            })
            .collect();
        longest = made.iter().map(|(steps, _)| *steps).max().unwrap_or(0);
        for (_, made) in made {
            if let ControlFlow::Break(with) = take(made) {
                return Some(with);
            }
        }
    }
}
