//! Robot datasets: one file per format behind EpisodeSource, with info, verify and stats.
