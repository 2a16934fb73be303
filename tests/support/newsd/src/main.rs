//! `altmount-newsd`: the double at a terminal, for trying a client by hand.

use altmount_newsd::{Body, DEFAULT_ARTICLE, Fault, Newsd, Profile, Release, Rule};
use clap::Parser;
use std::{error::Error, path::PathBuf, time::Duration};

/// A news server with made-up releases: it serves them over NNTP and writes their NZBs.
#[derive(Debug, Parser)]
#[command(name = "altmount-newsd", version)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:11119", value_name = "ADDR:PORT")]
    listen: String,
    /// Ask for this login (with --password).
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// The login's password.
    #[arg(
        long,
        env = "ALTMOUNT_NEWSD_PASSWORD",
        hide_env_values = true,
        requires = "user"
    )]
    password: Option<String>,
    /// TLS from the first byte on, with a self-signed certificate.
    #[arg(long)]
    tls: bool,
    /// A provider to play: premium-750k or slow-4m. The five options below go before what it sets.
    #[arg(long, value_parser = profile, value_name = "NAME")]
    profile: Option<Profile>,
    /// Connections at one time; one more is told 502.
    #[arg(long)]
    max_connections: Option<usize>,
    /// Round-trip time to play, in milliseconds.
    #[arg(long, value_name = "MS")]
    rtt: Option<u64>,
    /// Up to this much more of it, drawn for each reply, in milliseconds.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    jitter: u64,
    /// Bytes a second and connection, such as 10M.
    #[arg(long, value_parser = size, value_name = "SIZE")]
    bandwidth: Option<u64>,
    /// Bytes a second over all connections.
    #[arg(long, value_parser = size, value_name = "SIZE")]
    link: Option<u64>,
    /// Decides the releases' bytes and what is drawn by lot.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Bytes an article.
    #[arg(long, value_parser = size, value_name = "SIZE")]
    article_size: Option<u64>,
    /// A release of one file NAME.mkv, such as Some.Film:4G. May be given several times.
    #[arg(long = "release", value_parser = named_size, value_name = "NAME:SIZE")]
    releases: Vec<(String, u64)>,
    /// A fault and its probability, such as missing=0.01. Kinds: missing, corrupt, truncated, stall, disconnect, late
    /// (three seconds).
    #[arg(long = "fault", value_parser = fault, value_name = "KIND=P")]
    faults: Vec<(Fault, f64)>,
    /// Folder for the NZBs.
    #[arg(long, default_value = ".", value_name = "DIR")]
    nzb_dir: PathBuf,
}

fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        other => return Err(format!("`{other}` is no unit: use K, M, G or T")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is no size: use a number such as 700K or 4G"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("`{text}` is too large"))
}

fn profile(name: &str) -> Result<Profile, String> {
    let names = || Profile::ALL.map(|profile| profile.name).join(" or ");
    Profile::named(name).ok_or_else(|| format!("no profile `{name}`: use {}", names()))
}

fn named_size(text: &str) -> Result<(String, u64), String> {
    let (name, len) = text
        .rsplit_once(':')
        .ok_or_else(|| format!("`{text}` is not NAME:SIZE"))?;
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
        return Err(format!("`{name}` cannot be a file name"));
    }
    let len = size(len)?;
    if len > 1 << 40 {
        return Err(format!("`{text}` is larger than 1T"));
    }
    Ok((name.to_owned(), len))
}

fn fault(text: &str) -> Result<(Fault, f64), String> {
    let (kind, chance) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not KIND=P"))?;
    let fault = match kind {
        "missing" => Fault::Missing,
        "corrupt" => Fault::CorruptPayload,
        "truncated" => Fault::Truncated,
        "stall" => Fault::Stall,
        "disconnect" => Fault::DisconnectInside,
        "late" => Fault::SlowFirstByte(Duration::from_secs(3)),
        _ => {
            return Err(format!(
                "no fault `{kind}`: use missing, corrupt, truncated, stall, disconnect or late"
            ));
        }
    };
    match chance.parse() {
        Ok(chance) if (0.0..=1.0).contains(&chance) => Ok((fault, chance)),
        _ => Err(format!("`{chance}` is no probability: use a number from 0 to 1")),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut builder = Newsd::builder()
        .listen(&arguments.listen)
        .tls(arguments.tls)
        .seed(arguments.seed)
        .jitter(Duration::from_millis(arguments.jitter));
    if let Some(profile) = &arguments.profile {
        builder = builder.profile(profile);
    }
    if let Some(rtt) = arguments.rtt {
        builder = builder.rtt(Duration::from_millis(rtt));
    }
    if let Some(link) = arguments.link {
        builder = builder.link(link);
    }
    if let (Some(user), Some(password)) = (arguments.user, arguments.password) {
        builder = builder.credentials(user, password);
    }
    if let Some(limit) = arguments.max_connections {
        builder = builder.max_connections(limit);
    }
    if let Some(bandwidth) = arguments.bandwidth {
        builder = builder.bandwidth(bandwidth);
    }
    for (fault, chance) in arguments.faults {
        builder = builder.rule(Rule::new(fault).chance(chance));
    }
    let server = builder
        .start()
        .await
        .map_err(|e| format!("cannot listen on {}: {e}", arguments.listen))?;
    let scheme = if server.is_tls() { "nntps" } else { "nntp" };
    println!("{scheme}://{}", server.address());
    let article = arguments
        .article_size
        .or(arguments.profile.map(|profile| profile.article))
        .unwrap_or(DEFAULT_ARTICLE);
    for (name, len) in arguments.releases {
        let body = Body::stamped(
            arguments.seed,
            len,
            usize::try_from(article).unwrap_or(usize::MAX).min(64 << 20),
        );
        let release = Release::builder(&name)
            .seed(arguments.seed)
            .article_size(article)
            .file(format!("{name}.mkv"), body)
            .build();
        server.add(&release);
        let path = arguments.nzb_dir.join(format!("{name}.nzb"));
        tokio::fs::write(&path, release.nzb())
            .await
            .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        println!("{}", path.display());
    }
    tokio::signal::ctrl_c().await?;
    let counts = server.counts();
    server.stop().await;
    println!(
        "{} connections, {} articles, {} bytes sent",
        counts.connections, counts.articles, counts.bytes_out
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes_names_and_faults() {
        assert_eq!(size("700K"), Ok(716_800));
        assert_eq!(size("17"), Ok(17));
        assert_eq!(named_size("a:b:2g"), Ok(("a:b".into(), 2 << 30)));
        for bad in ["", "K", "1X", "-1", "99999999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for bad in ["a", ":1", "../a:1", "a/b:1", ".a:1", "a:2T"] {
            assert!(named_size(bad).is_err(), "{bad}");
        }
        assert!(matches!(fault("missing=0.25"), Ok((Fault::Missing, chance)) if chance == 0.25));
        for bad in ["missing", "missing=2", "missing=x", "other=0.1", "missing=NaN"] {
            assert!(fault(bad).is_err(), "{bad}");
        }
    }
}
