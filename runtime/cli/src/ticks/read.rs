//! Reading recorded ticks, in either form.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::anyhow;
use surefoot_core::RobotContract;
use surefoot_datasets::mcap::episodes::TICKS;
use surefoot_datasets::mcap::metadata;
use surefoot_datasets::streams::{LogEnd, LogOptions, open_log};
use surefoot_engine::control::Tick;

use super::lines::Lines;
use super::messages::{TicksFromMessages, wanted};
use super::{TicksHeader, is_mcap};
use crate::composition::{TaskAndWorld, robot_parts};
use crate::failure::Failure;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TicksRead {
    /// Ticks.
    pub ticks: u64,
    /// Ticks that are missing between those that are there.
    pub missing: u64,
    /// Why there is no end, where there is none: the program that wrote was cut off.
    pub torn: Option<String>,
}

/// Checks each tick against the one before, and hands it on.
struct Order<'a> {
    read: TicksRead,
    last: u64,
    shape: Tick,
    take: &'a mut dyn FnMut(&Tick) -> Result<(), Failure>,
}

impl Order<'_> {
    fn next(&mut self, tick: &Tick) -> Result<Result<(), Failure>, String> {
        let expected = self.last.saturating_add(1);
        if tick.tick < expected {
            return Err(format!("tick {} stands after tick {}", tick.tick, self.last));
        }
        if !tick.has_shape_of(&self.shape) {
            return Err("a row has another length than the robot's contract says".to_owned());
        }
        self.read.missing += tick.tick - expected;
        self.read.ticks += 1;
        self.last = tick.tick;
        Ok((self.take)(tick))
    }
}

/// Reads a file of ticks: `begin` is told what they are of and gives what each tick is handed to. A file that was cut off is read up to
/// the tear.
///
/// # Errors
/// When it is no such file, of another robot contract than the one that is here, or damaged; and whatever `begin` and `take` say.
pub fn read<T>(
    path: &Path,
    begin: impl FnOnce(&TicksHeader, TaskAndWorld) -> Result<T, Failure>,
    mut take: impl FnMut(&mut T, &Tick) -> Result<(), Failure>,
) -> Result<(TicksRead, T), Failure> {
    let of = |header: &TicksHeader| -> Result<(T, Tick), Failure> {
        if header.format != TicksHeader::FORMAT {
            let (expected, found) = (TicksHeader::FORMAT, &header.format);
            return Err(anyhow!("{}: expected {expected}, found {found}", path.display()).into());
        }
        let (task, world) = robot_parts(&header.env)?;
        same_contract(path, header, world.contract())?;
        let shape = Tick::new(world.contract(), task.spec());
        Ok((begin(header, (task, world))?, shape))
    };
    if is_mcap(path) {
        let header = mcap_header(path)?;
        let (mut made, shape) = of(&header)?;
        let mut take = |tick: &Tick| take(&mut made, tick);
        let order = Order { read: TicksRead::default(), last: 0, shape, take: &mut take };
        let read = read_mcap(path, order)?;
        Ok((read, made))
    } else {
        let mut lines = Lines::open(path)?;
        let header: TicksHeader = lines.next()?.ok_or_else(|| lines.bad("the file is empty"))?;
        let (mut made, shape) = of(&header)?;
        let mut take = |tick: &Tick| take(&mut made, tick);
        let mut order = Order { read: TicksRead::default(), last: 0, shape, take: &mut take };
        while let Some(tick) = lines.next::<Tick>()? {
            order.next(&tick).map_err(|why| lines.bad(&why))??;
        }
        order.read.torn = lines.torn().map(|line| format!("line {line} is half a line"));
        let read = order.read;
        Ok((read, made))
    }
}

fn same_contract(path: &Path, header: &TicksHeader, contract: &RobotContract) -> Result<(), Failure> {
    if contract.hash() == header.contract_hash {
        return Ok(());
    }
    Err(anyhow!(
        "{}: these ticks are of another robot contract: {} here has {}, they have {}",
        path.display(),
        contract.name,
        contract.hash(),
        header.contract_hash
    )
    .into())
}

fn mcap_header(path: &Path) -> Result<TicksHeader, Failure> {
    let (records, _) = metadata(path)?;
    let header = records.iter().find(|r| r.name == TICKS).and_then(|r| r.entries.get("header"));
    let header = header.ok_or_else(|| {
        anyhow!(
            "{}: it holds no ticks: the metadata record {TICKS} is not there\n\nhint: ticks come from `surefoot rollout --ticks FILE.mcap`",
            path.display()
        )
    })?;
    Ok(serde_json::from_str(header)
        .map_err(|e| anyhow!("{}: metadata record {TICKS}: {e}", path.display()))?)
}

fn read_mcap(path: &Path, mut order: Order<'_>) -> Result<TicksRead, Failure> {
    let log = open_log(path, &LogOptions::default())?;
    let mut ticks = TicksFromMessages::new(order.shape.clone());
    let mut stopped = None;
    let end = log.read(&wanted, &mut |message| {
        let taken = match ticks.take(message) {
            Ok(None) => return Ok(ControlFlow::Continue(())),
            Ok(Some(tick)) => order.next(tick),
            Err(why) => Err(format!("a message of {} at byte {}: {why}", message.topic, message.offset)),
        };
        stopped = match taken {
            Ok(Ok(())) => return Ok(ControlFlow::Continue(())),
            Ok(Err(failure)) => Some(failure),
            Err(why) => Some(anyhow!("{}: {why}", path.display()).into()),
        };
        Ok(ControlFlow::Break(()))
    })?;
    if let Some(failure) = stopped {
        return Err(failure);
    }
    if let LogEnd::Torn(why) = end {
        order.read.torn = Some(why);
    }
    Ok(order.read)
}
