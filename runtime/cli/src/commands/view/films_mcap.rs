//! Films as ROS 2 messages in an MCAP file, which Rerun and Foxglove play.
//!
//! | topic | |
//! |---|---|
//! | `/N/image` | `sensor_msgs/CompressedImage`, a PNG for each picture of who acts in column N |
//! | `/N/episode` | `std_msgs/String`, a JSON object at the end of each episode: policy, episode, seed, success, steps, return |
//!
//! Time is simulated and begins at 1 s. Columns play side by side, episodes one after the other.

use std::collections::BTreeMap;
use std::io::Result as IoResult;

use surefoot_core::ros::RosMessage;
use surefoot_core::ros::messages::{CompressedImage, Header, String as Text, Time};
use surefoot_datasets::mcap::{Channel, McapWriter, WriteOptions};
use surefoot_engine::EpisodeSeeds;
use surefoot_engine::report::FilmColumn;

use super::png_file;
use crate::new_file::NewFile;

/// Between two episodes, s.
const PAUSE_SECS: f64 = 1.0;

/// Writes them all.
///
/// # Errors
/// When the system refuses.
pub fn write(to: NewFile, env: &str, columns: &[FilmColumn], seeds: &[EpisodeSeeds]) -> IoResult<()> {
    let mut file = McapWriter::new(to, WriteOptions::default())?;
    let policies: Vec<&str> = columns.iter().map(|c| c.title.as_str()).collect();
    file.metadata(
        "surefoot.view",
        &BTreeMap::from([
            ("env".to_owned(), env.to_owned()),
            ("policies".to_owned(), serde_json::to_string(&policies)?),
        ]),
    )?;
    let mut topics: Vec<(Channel, Channel)> = Vec::new();
    for i in 0..columns.len() {
        topics.push((
            file.topic(&format!("/{i}/image"), CompressedImage::TYPE, CompressedImage::DEFINITION)?,
            file.topic(&format!("/{i}/episode"), Text::TYPE, Text::DEFINITION)?,
        ));
    }
    let mut began_secs = 1.0;
    let mut payload = Vec::new();
    for (episode, seed) in seeds.iter().enumerate() {
        // In the order of their times, whosever they are.
        let mut shown = Vec::new();
        let mut longest_secs = 0.0_f64;
        for (column, film) in columns.iter().enumerate().filter_map(|(i, c)| Some((i, c.films.get(episode)?)))
        {
            let at = |frame: usize| frame as f64 * film.frame_secs;
            shown.extend(film.frames.iter().enumerate().map(|(i, frame)| (at(i), column, frame)));
            longest_secs = longest_secs.max(at(film.frames.len()));
        }
        shown.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (secs, column, frame) in shown {
            let nanos = nanos(began_secs + secs);
            let picture = CompressedImage {
                header: Header {
                    stamp: Time::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX)),
                    frame_id: "camera".to_owned(),
                },
                format: "png".to_owned(),
                data: png_file(frame)?,
            };
            picture.encode(&mut payload);
            file.message(topics[column].0, nanos, nanos, &payload)?;
        }
        for (column, (_, topic)) in columns.iter().zip(&topics) {
            let Some(film) = column.films.get(episode) else { continue };
            let told = serde_json::json!({
                "policy": column.title, "episode": episode, "seed": seed.reset, "success": film.success,
                "steps": film.steps, "return": film.episode_return,
            });
            Text { data: told.to_string() }.encode(&mut payload);
            let nanos = nanos(began_secs + longest_secs);
            file.message(*topic, nanos, nanos, &payload)?;
        }
        began_secs += longest_secs + PAUSE_SECS;
    }
    let (out, _) = file.finish()?;
    out.sync_data()
}

/// As nanoseconds; what is negative or beyond is at the end of the range.
fn nanos(secs: f64) -> u64 {
    (secs * 1e9).round() as u64
}
