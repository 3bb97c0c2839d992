//! `levqor backup`: makes, lists, checks, tries out and puts back copies of the whole database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use levqor_core::backup::{Kind, moment};
use levqor_engine::backup::{BackupError, Backups};
use levqor_store::backup::{Contents, Losses, Present, Stop};
use serde_json::json;

use super::exit::{Exit, Failure, chain};
use super::out::{self, note, say};
use super::serve::{self, SystemClock};

/// Make, list, check and restore backups
#[derive(Args)]
#[command(
    after_help = "\
Examples:
  levqor backup create
  levqor backup list
  levqor backup verify backups/levqor-2030-01-31-093000.db
  levqor backup drill
  levqor backup restore backups/levqor-2030-01-31-093000.db --yes

They work on the database of SQLITE_PATH or DATABASE_URL and the folder of BACKUP_DIR. All but restore may run while the
server runs. A server makes a backup by itself each day at 00:00 UTC.",
    arg_required_else_help = true
)]
pub struct Backup {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a backup now, also while the server runs
    Create {
        /// Name it as the daily ones are named, and count it among them
        #[arg(long)]
        automatic: bool,

        /// Print what was made as JSON
        #[arg(long)]
        json: bool,
    },
    /// List what is in the folder, newest first
    List {
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Read a whole backup and say what is in it
    Verify {
        /// A file, or the name of one in the folder of backups
        file: PathBuf,

        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a backup in the place of the database; says first what would be lost
    ///
    /// The server must be stopped. What is there now is kept: a SQLite file beside it, a PostgreSQL database as a new backup.
    Restore {
        /// A file, or the name of one in the folder of backups
        file: PathBuf,

        /// Do it. Without this it is only said what would be lost
        #[arg(long)]
        yes: bool,
    },
    /// Restore the newest backup to a scratch place, check it, and throw it away again
    Drill {
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
}

impl Backup {
    pub async fn run(&self) -> Result<(), Failure> {
        let config = serve::config(&BTreeMap::new())?;
        let backups = Backups::new(serve::backups(&config)?, Arc::new(SystemClock));
        match &self.command {
            Command::Create { automatic, json } => {
                let kind = if *automatic { Kind::Automatic } else { Kind::Manual };
                create(&backups, kind, *json).await
            }
            Command::List { json } => list(&backups, *json),
            Command::Verify { file, json } => verify(&backups, &find(&backups, file), *json).await,
            Command::Restore { file, yes } => restore(&backups, &find(&backups, file), *yes).await,
            Command::Drill { json } => drill(&backups, *json).await,
        }
    }
}

fn broken(error: BackupError) -> Failure {
    let exit = match &error {
        BackupError::None(_) => Exit::NotFound,
        BackupError::Busy(_) => Exit::Refused,
        _ => Exit::Failed,
    };
    Failure::new(exit, chain(&error))
}

/// A bare name is looked for in the folder, unless there is such a file here.
fn find(backups: &Backups, file: &Path) -> PathBuf {
    let inside = backups.dir().join(file);
    if !file.exists() && inside.exists() { inside } else { file.to_owned() }
}

fn rows(contents: &Contents) -> String {
    let of =
        |table: &str, word: &str| out::count(usize::try_from(contents.of(table)).unwrap_or_default(), word);
    let rows = usize::try_from(contents.total()).unwrap_or_default();
    format!("{}, {}, {} in all", of("jobs", "job"), of("users", "user"), out::count(rows, "row"))
}

async fn create(backups: &Backups, kind: Kind, as_json: bool) -> Result<(), Failure> {
    let stop = Stop::default();
    let made = {
        let mut making = std::pin::pin!(backups.create(kind, &stop));
        tokio::select! {
            made = &mut making => made,
            // Stopped, it takes away what it wrote.
            _ = tokio::signal::ctrl_c() => {
                stop.ask();
                making.await
            }
        }
    };
    let made = made.map_err(broken)?;
    if as_json {
        say!(
            "{}",
            json!({"name": made.name.to_string(), "path": made.path, "rows": made.contents.rows, "sha256": made.sha256,
                "size_bytes": made.size_bytes, "took_ms": made.took_ms, "pruned": made.pruned,
                "uploaded": made.uploaded == Ok(true)})
        );
    } else {
        say!("{}", made.path.display());
        note!("checked: {}; {} bytes in {} ms", rows(&made.contents), made.size_bytes, made.took_ms);
        made.pruned.iter().for_each(|name| note!("deleted: {name}"));
    }
    match made.uploaded {
        Err(why) => Err(Failure::failed(why)),
        Ok(true) => {
            note!("a copy is in the bucket, and was read back");
            Ok(())
        }
        Ok(false) => Ok(()),
    }
}

fn list(backups: &Backups, as_json: bool) -> Result<(), Failure> {
    let listed = backups.list().map_err(broken)?;
    if as_json {
        let lines = listed.iter().map(|listed| {
            json!({"name": listed.name.to_string(), "kind": listed.name.kind().as_str(), "size_bytes": listed.size_bytes,
                "created_at": listed.name.at_ms() / 1000, "path": listed.path, "sha256": listed.sha256})
        });
        say!("{}", serde_json::Value::from_iter(lines));
    } else if listed.is_empty() {
        note!("there is no backup in {}", backups.dir().display());
    } else {
        let rows = listed.iter().map(|listed| {
            let kind = listed.name.kind().as_str().to_owned();
            vec![
                moment(listed.name.at_ms()),
                kind,
                format!("{} bytes", listed.size_bytes),
                listed.path.display().to_string(),
            ]
        });
        say!("{}", out::table(&rows.collect::<Vec<_>>()));
    }
    Ok(())
}

async fn verify(backups: &Backups, file: &Path, as_json: bool) -> Result<(), Failure> {
    let verified = backups.verify(file).await.map_err(broken)?;
    if as_json {
        say!("{}", json!({"ok": true, "rows": verified.contents.rows, "checked_sum": verified.checked_sum}));
        return Ok(());
    }
    say!("{}: whole, {}", file.display(), rows(&verified.contents));
    if !verified.checked_sum {
        note!("there is no .sha256 file beside it: a flipped bit inside a value would not be noticed");
    }
    Ok(())
}

async fn restore(backups: &Backups, file: &Path, yes: bool) -> Result<(), Failure> {
    // Before anything is said about losses: a damaged backup is no choice.
    let verified = backups.verify(file).await.map_err(broken)?;
    say!("{}: whole, {}", file.display(), rows(&verified.contents));
    match backups.losses(file).await.map_err(broken)? {
        Present::Nothing => say!("There is no database yet: nothing is lost."),
        Present::Unreadable(why) => {
            say!("What is there now cannot be read ({why}): what it holds is lost with it.")
        }
        Present::Readable(losses) => tell(&losses),
    }
    if !yes {
        return Err(Failure::usage("nothing was done; add --yes to restore"));
    }
    let restored = backups.restore(file).await.map_err(broken)?;
    say!("Restored.");
    if let Some(kept) = restored.kept {
        say!("What was there before is kept in {}", kept.display());
    }
    Ok(())
}

fn tell(losses: &Losses) {
    let lines = [
        (losses.jobs, "job came after the backup and is lost", "jobs came after the backup and are lost"),
        (losses.users, "user came after the backup and is lost", "users came after the backup and are lost"),
        (losses.changed_users, "user changed since and goes back", "users changed since and go back"),
        (
            losses.unfinished_jobs,
            "job is unfinished in the backup and goes on",
            "jobs are unfinished in the backup and go on",
        ),
        (
            losses.jobs_run_again,
            "of them has finished since and would run again",
            "of them have finished since and would run again",
        ),
    ];
    for (number, one, many) in lines {
        say!("{number} {}", if number == 1 { one } else { many });
    }
}

async fn drill(backups: &Backups, as_json: bool) -> Result<(), Failure> {
    let drill = backups.drill().await.map_err(broken)?;
    if as_json {
        say!(
            "{}",
            json!({"name": drill.name.to_string(), "ok": true, "rows": drill.contents.rows, "took_ms": drill.took_ms,
                "migrations": drill.migrations, "unfinished_jobs": drill.unfinished_jobs})
        );
        return Ok(());
    }
    say!(
        "{}: restored to a scratch place in {} ms, whole, {}",
        drill.name,
        drill.took_ms,
        rows(&drill.contents)
    );
    say!(
        "{} would go on",
        out::count(usize::try_from(drill.unfinished_jobs).unwrap_or_default(), "unfinished job")
    );
    if !drill.migrations.is_empty() {
        say!("migrated on the way: {}", drill.migrations.join(", "));
    }
    Ok(())
}
