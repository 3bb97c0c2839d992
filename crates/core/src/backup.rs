//! Backups by name: when one was made and why is read from its file's name alone, and so is what may be pruned.
//!
//! Must not: touch a file. A name that is not exactly one of ours belongs to somebody else and is left alone.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A day, for whoever counts in milliseconds.
pub const DAY_MS: i64 = 86_400_000;

/// Why a backup was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// By the schedule.
    Automatic,
    /// Somebody asked for it.
    Manual,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Automatic => "automatic",
            Kind::Manual => "manual",
        }
    }
}

/// What is in the file, as its ending tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// A SQLite database.
    Db,
    /// What `pg_dump -Fc` writes.
    Dump,
}

impl Form {
    fn ending(self) -> &'static str {
        match self {
            Form::Db => ".db",
            Form::Dump => ".dump",
        }
    }
}

/// `backup_20300131T000000Z.db` by the schedule, `levqor-2030-01-31-093000.db` by hand. Sorts by time. UTC, whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackupName {
    at_secs: i64,
    kind: Kind,
    form: Form,
}

/// 9999-12-30T22:00:00Z: the last hour that is a time in every zone, and so the last that the library of times knows.
const LATEST_SECS: i64 = 253_402_207_200;

impl BackupName {
    pub fn new(kind: Kind, form: Form, at_ms: i64) -> Self {
        BackupName { at_secs: at_ms.div_euclid(1000).clamp(0, LATEST_SECS), kind, form }
    }

    /// The name, if it is exactly one that [`BackupName::new`] makes.
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, form) = [Form::Db, Form::Dump]
            .into_iter()
            .find_map(|form| Some((name.strip_suffix(form.ending())?, form)))?;
        let (kind, format, stamp) = match stem.strip_prefix("backup_") {
            Some(stamp) => (Kind::Automatic, AUTOMATIC, stamp),
            None => (Kind::Manual, MANUAL, stem.strip_prefix("levqor-")?),
        };
        let at = DateTime::strptime(format, stamp).ok()?.to_zoned(TimeZone::UTC).ok()?;
        let parsed = BackupName { at_secs: at.timestamp().as_second(), kind, form };
        // The reader is lenient about digits and blanks; we are not.
        (parsed.to_string() == name).then_some(parsed)
    }

    pub fn kind(self) -> Kind {
        self.kind
    }

    pub fn form(self) -> Form {
        self.form
    }

    pub fn at_ms(self) -> i64 {
        self.at_secs * 1000
    }

    /// The same a second later: two backups by hand may fall into one second.
    pub fn next(self) -> Self {
        BackupName { at_secs: self.at_secs + 1, ..self }
    }
}

const AUTOMATIC: &str = "%Y%m%dT%H%M%SZ";
const MANUAL: &str = "%Y-%m-%d-%H%M%S";

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = Timestamp::from_second(self.at_secs).unwrap_or(Timestamp::UNIX_EPOCH);
        let (prefix, format) = match self.kind {
            Kind::Automatic => ("backup_", AUTOMATIC),
            Kind::Manual => ("levqor-", MANUAL),
        };
        write!(f, "{prefix}{}{}", at.strftime(format), self.form.ending())
    }
}

/// Which backups are too many: of each kind all but the newest `keep`. Backups by hand push no daily one out.
pub fn surplus(names: &[BackupName], keep: usize) -> Vec<BackupName> {
    let of_kind = |kind| {
        let mut of_kind: Vec<_> = names.iter().copied().filter(|name| name.kind == kind).collect();
        of_kind.sort_unstable_by(|a, b| b.cmp(a));
        of_kind.into_iter().skip(keep)
    };
    of_kind(Kind::Automatic).chain(of_kind(Kind::Manual)).collect()
}

/// The midnight (UTC) that `now_ms` comes after.
pub fn midnight_before(now_ms: i64) -> i64 {
    now_ms - now_ms.rem_euclid(DAY_MS)
}

/// A moment as a person reads it: `2030-01-31 09:30:00 UTC`.
pub fn moment(at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOON: i64 = 1_800_014_400_000;

    #[test]
    fn both_kinds_of_names_tell_their_time_and_come_back() {
        for (kind, form, text) in [
            (Kind::Automatic, Form::Db, "backup_20270115T120000Z.db"),
            (Kind::Automatic, Form::Dump, "backup_20270115T120000Z.dump"),
            (Kind::Manual, Form::Db, "levqor-2027-01-15-120000.db"),
            (Kind::Manual, Form::Dump, "levqor-2027-01-15-120000.dump"),
        ] {
            let name = BackupName::new(kind, form, NOON + 999);
            assert_eq!(name.to_string(), text);
            assert_eq!(BackupName::parse(text), Some(name));
            assert_eq!((name.at_ms(), name.kind(), name.form()), (NOON, kind, form));
        }
        assert_eq!(
            BackupName::new(Kind::Manual, Form::Db, i64::MAX).to_string(),
            "levqor-9999-12-30-220000.db"
        );
        assert_eq!(BackupName::new(Kind::Manual, Form::Db, -1).to_string(), "levqor-1970-01-01-000000.db");
    }

    #[test]
    fn names_of_others_are_none_of_ours() {
        for name in [
            "levqor.db",
            "backup_20270115T120000Z.db.sha256",
            "backup_20270115T120000Z.DB",
            "backup_20270115T120000.db",
            "backup_20270115T1200Z.db",
            "backup_20271315T120000Z.db",
            "backup_20270230T120000Z.db",
            "backup_20270115T120060Z.db",
            "backup_ 2027115T120000Z.db",
            "backup_+2027115T12000Z.db",
            "levqor-2027-1-15-120000.db",
            "levqor-2027-01-15-120000",
            "../levqor-2027-01-15-120000.db",
            "my-levqor-2027-01-15-120000.db",
            "backup_.db",
            "",
        ] {
            assert_eq!(BackupName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn of_each_kind_the_newest_stay() {
        let name = |kind, day| BackupName::new(kind, Form::Db, day * DAY_MS);
        let names = [
            name(Kind::Automatic, 2),
            name(Kind::Manual, 9),
            name(Kind::Automatic, 3),
            name(Kind::Automatic, 1),
            name(Kind::Manual, 8),
            name(Kind::Manual, 7),
        ];

        assert_eq!(surplus(&names, 2), [name(Kind::Automatic, 1), name(Kind::Manual, 7)]);
        assert_eq!(surplus(&names, 3), []);
        assert_eq!(surplus(&[], 1), []);
    }

    #[test]
    fn a_day_begins_at_midnight() {
        assert_eq!(midnight_before(NOON), NOON - DAY_MS / 2);
        assert_eq!(midnight_before(NOON - DAY_MS / 2), NOON - DAY_MS / 2);
        assert_eq!(midnight_before(NOON - DAY_MS / 2 - 1), NOON - DAY_MS / 2 - DAY_MS);
        assert_eq!(moment(NOON), "2027-01-15 12:00:00 UTC");
    }
}
