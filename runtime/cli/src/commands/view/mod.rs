//! `surefoot view`: what policies do, drawn, as a page, as pictures and as messages.

mod films_mcap;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, anyhow};
use surefoot_core::{Frame, Overlay, Policy, PolicyArtifact};
use surefoot_engine::report::{FilmColumn, films_page};
use surefoot_engine::{EngineError, EpisodeSeeds, EvalConfig, Interrupt, film};
use surefoot_sim::{DemonstratorConfig, DemonstratorContext};

use crate::args::{Shown, ViewArgs};
use crate::commands::eval::{Trained, environment, locate_and_read, read_policy};
use crate::commands::train::on_interrupt;
use crate::composition;
use crate::config::{EnvConfig, nearest};
use crate::failure::{CommandResult, Failure, usage};
use crate::new_file::NewFile;
use crate::output::Output;

/// What stands before a demonstrator's name.
const DEMONSTRATOR: &str = "demonstrator:";
/// Most columns and rows: a page holds all its pictures.
const MOST: usize = 16;

/// Who acts.
enum Actor {
    Policy(Box<PolicyArtifact>),
    Demonstrator(DemonstratorConfig),
}

/// Runs the verb.
pub fn run(args: &ViewArgs, output: Output) -> CommandResult {
    for (what, n) in [("--episodes", args.episodes), ("policies", args.policies.len())] {
        if !(1..=MOST).contains(&n) {
            return Err(usage(anyhow!("{what} {n}: expected 1 to {MOST}")));
        }
    }
    let (env, eval) = world(args)?;
    let actors = args.policies.iter().map(|name| actor(name)).collect::<Result<Vec<_>, _>>()?;
    let spec = composition::env_spec(&env)?;
    for actor in &actors {
        if let Actor::Policy(artifact) = actor {
            artifact.card.check(&spec)?;
        }
    }
    let page = NewFile::create(&args.to)?;
    let messages = args.mcap.as_deref().map(NewFile::create).transpose()?;
    if let Some(directory) = &args.pictures {
        std::fs::create_dir(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let interrupt = on_interrupt()?;
    let seeds = EvalConfig { episodes: args.episodes, seed: args.seed.unwrap_or(eval.seed) }.seeds();
    let mut columns = Vec::new();
    for (column, (name, actor)) in args.policies.iter().zip(&actors).enumerate() {
        let films = watch(args, &env, actor, &seeds, &interrupt)?;
        if films.iter().all(|film| film.frames.is_empty()) {
            return Err(anyhow!(
                "there is nothing to see of {}\n\nhint: worlds of this program's own can be drawn; `surefoot eval` judges what others do",
                env.name()
            )
            .into());
        }
        for (episode, film) in films.iter().enumerate() {
            output.note(&format!(
                "{name}, episode {episode}: {}, {} steps, return {:.1}",
                if film.success { "solved" } else { "not solved" },
                film.steps,
                film.episode_return
            ));
            if let Some(directory) = &args.pictures {
                for (i, frame) in film.frames.iter().enumerate() {
                    write_png(frame, &directory.join(format!("{column}-{episode}-{i:05}.png")))?;
                }
            }
        }
        columns.push(FilmColumn { title: name.clone(), films });
    }
    let title = args.policies.join(" beside ");
    let html = films_page(&title, env.name(), &columns, &seeds)?;
    let path = page.write_whole(html.as_bytes())?;
    if let (Some(file), Some(path)) = (messages, &args.mcap) {
        films_mcap::write(file, env.name(), &columns, &seeds)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if output.json() {
        let films = columns.iter().map(|c| {
            let episodes = c.films.iter().map(
                |f| serde_json::json!({ "success": f.success, "steps": f.steps, "return": f.episode_return }),
            );
            serde_json::json!({ "policy": c.title, "episodes": episodes.collect::<Vec<_>>() })
        });
        let columns = films.collect::<Vec<_>>();
        output.value(
            &serde_json::json!({ "event": "viewed", "env": env.name(), "page": path, "mcap": args.mcap, "columns": columns }),
        );
    } else {
        output.line(&format!("page {}", path.display()));
    }
    Ok(())
}

/// The world of the first trained policy, or the one that was named.
fn world(args: &ViewArgs) -> Result<(EnvConfig, EvalConfig), Failure> {
    let named = args.env.as_deref();
    match args.policies.iter().find(|name| !name.starts_with(DEMONSTRATOR)) {
        Some(policy) => {
            let Trained { env, eval, .. } = locate_and_read(Path::new(policy), named)?;
            Ok((env, eval))
        }
        None if named.is_some() => Ok((environment(named, None, None)?, EvalConfig::default())),
        None => Err(usage(anyhow!("nothing says in which world\n\nhint: name one with --env"))),
    }
}

fn actor(name: &str) -> Result<Actor, Failure> {
    let Some(demonstrator) = name.strip_prefix(DEMONSTRATOR) else {
        return Ok(Actor::Policy(Box::new(read_policy(Path::new(name))?.0)));
    };
    DemonstratorConfig::default_of(demonstrator).map(Actor::Demonstrator).ok_or_else(|| {
        let known = DemonstratorConfig::NAMES;
        let hint = nearest(demonstrator, known.iter().copied())
            .map_or(String::new(), |n| format!("\n\nhint: did you mean `{DEMONSTRATOR}{n}`?"));
        usage(anyhow!("unknown demonstrator {demonstrator:?}: expected one of {}{hint}", known.join(", ")))
    })
}

fn watch(
    args: &ViewArgs,
    env: &EnvConfig,
    actor: &Actor,
    seeds: &[EpisodeSeeds],
    interrupt: &Interrupt,
) -> Result<Vec<surefoot_engine::Film>, Failure> {
    let mut envs = composition::worlds(env, 1)?;
    let shows = |what| args.show.contains(&what);
    envs.set_overlay(Overlay { contacts: shows(Shown::Contacts), limits: shows(Shown::Limits) });
    let mut policy: Box<dyn Policy> = match actor {
        Actor::Policy(artifact) => surefoot_policies::load_policy(artifact, 1)?,
        Actor::Demonstrator(config) => {
            config.build(&DemonstratorContext { spec: envs.spec().clone(), slots: 1 })?
        }
    };
    let width = usize::try_from(args.width).unwrap_or(usize::MAX);
    let every = usize::try_from(args.every).unwrap_or(usize::MAX);
    let one = |seeds: &EpisodeSeeds| {
        film(&mut envs, policy.as_mut(), *seeds, every, (width, width * 3 / 4), interrupt).map_err(
            |e| match e {
                EngineError::Interrupted => Failure::Interrupted("no page was written".into()),
                other => other.into(),
            },
        )
    };
    seeds.iter().map(one).collect()
}

fn write_png(frame: &Frame, to: &Path) -> CommandResult {
    let write = || File::create_new(to)?.write_all(&png_file(frame)?);
    Ok(write().with_context(|| format!("cannot write {}", to.display()))?)
}

/// The picture as a PNG file.
fn png_file(frame: &Frame) -> std::io::Result<Vec<u8>> {
    let size = |n: usize| u32::try_from(n).map_err(std::io::Error::other);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size(frame.width)?, size(frame.height)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&frame.rgb)?;
    Ok(file)
}
