//! Arguments of `serve-env`.

use clap::Args;

/// Arguments of `serve-env`.
#[derive(Debug, Args)]
#[command(after_help = "\
Simulated time: the worlds wait for actions. Whoever reaches the endpoint may use them, so listen on 127.0.0.1 or behind a
zenoh router with access control.
Example:
  surefoot serve-env pendulum --envs 4 --listen tcp/127.0.0.1:7451
  python -c 'from surefoot_gym import SurefootEnv; print(SurefootEnv(\"pendulum\", \"tcp/127.0.0.1:7451\").reset(seed=1))'")]
pub struct ServeEnvArgs {
    /// Environment, a name of `surefoot list`.
    pub env: String,
    /// Its settings, as in `env.push.max_steps=30`.
    pub overrides: Vec<String>,
    /// Worlds, shared among clients.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub envs: u16,
    /// zenoh endpoint to listen at; port 0 lets the system choose, and the line on stdout says which. May be given several times.
    #[arg(long, default_value = "tcp/127.0.0.1:7451", conflicts_with = "connect")]
    pub listen: Vec<String>,
    /// Router to meet clients at, instead of listening. May be given several times.
    #[arg(long)]
    pub connect: Vec<String>,
    /// Id in keys; the environment's name by default.
    #[arg(long)]
    pub id: Option<String>,
    /// First part of the keys.
    #[arg(long, default_value = surefoot_bridges::lockstep::NAMESPACE)]
    pub namespace: String,
    /// End when standard input does: for whoever starts this as a child process.
    #[arg(long)]
    pub exit_with_stdin: bool,
}
