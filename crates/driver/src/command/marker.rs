//! What the files of a unit say: `mark` (claim: boot id, process, its start time), `end` (exit code).

/// State of a unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UnitState {
    /// Nobody claimed it.
    NotStarted,
    /// The process that claimed it lives.
    Running,
    /// It has ended with this exit code.
    Ended(i32),
    /// Claimed, but the machine was restarted or the process is gone without an exit code.
    Unknown(String),
}

/// A claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Boot id of the machine; `-` where there is none.
    pub boot: String,
    /// Process, leader of the unit's session.
    pub pid: u32,
    /// Its start time in clock ticks since the boot; `-` where nobody can say.
    pub start: String,
}

/// Reads a `mark` line; `None` when it is not whole.
#[must_use]
pub fn read_mark(line: &str) -> Option<Mark> {
    let mut words = line.split_ascii_whitespace();
    let (boot, pid, start) = (words.next()?, words.next()?, words.next()?);
    let whole = words.next() == Some(".") && words.next().is_none();
    whole.then_some(())?;
    Some(Mark { boot: boot.to_owned(), pid: pid.parse().ok()?, start: start.to_owned() })
}

/// Reads an `end` line; `None` when it is not whole.
#[must_use]
pub fn read_end(line: &str) -> Option<i32> {
    let (code, dot) = line.split_once(' ')?;
    (dot == ".").then(|| code.parse().ok()).flatten()
}

/// Start time out of a line of `/proc/PID/stat` (field 22); `None` for a process that has ended.
#[must_use]
pub fn read_start(stat: &str) -> Option<&str> {
    if stat == "living" {
        return Some("-");
    }
    // The second field is the program's name in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(18),
    }
}

/// What the state of a unit is, from its files and the machine.
#[must_use]
pub fn state(mark: Option<&str>, end: &str, boot: &str, stat: &str) -> UnitState {
    let Some(line) = mark else { return UnitState::NotStarted };
    if let Some(code) = read_end(end) {
        return UnitState::Ended(code);
    }
    let Some(mark) = read_mark(line) else {
        return UnitState::Unknown(format!("a marker that is not whole ({line:?}) and no exit code"));
    };
    if mark.boot != boot {
        return UnitState::Unknown(
            "the machine was restarted after the command began, and there is no exit code".into(),
        );
    }
    if read_start(stat) == Some(mark.start.as_str()) {
        return UnitState::Running;
    }
    UnitState::Unknown(format!("process {} is gone without an exit code", mark.pid))
}

/// Reads what the probe program printed; units that it does not name have not started.
#[must_use]
pub fn read_report(text: &str, units: &[String]) -> Vec<UnitState> {
    let mut boot = "-";
    let mut seen: Vec<(&str, &str, &str, &str)> = Vec::new();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, seen.last_mut()) {
            ("boot", _) => boot = rest,
            ("unit", _) => seen.push((rest, "", "", "")),
            ("mark", Some(unit)) => unit.1 = rest,
            ("stat", Some(unit)) => unit.2 = rest,
            ("end", Some(unit)) => unit.3 = rest,
            _ => {}
        }
    }
    units
        .iter()
        .map(|name| {
            seen.iter()
                .find(|unit| unit.0 == name)
                .map_or(UnitState::NotStarted, |unit| state(Some(unit.1), unit.3, boot, unit.2))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const STAT: &str = "77 (a ) b) S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";

    #[test]
    fn the_state_follows_from_marker_exit_code_and_process() {
        assert_eq!(state(None, "", "b", ""), UnitState::NotStarted);
        assert_eq!(state(Some("b 77 4711 ."), "3 .", "other", ""), UnitState::Ended(3));
        assert_eq!(state(Some("b 77 4711 ."), "", "b", STAT), UnitState::Running);
        for (mark, end, boot, stat) in [
            ("b 77 4711 .", "", "other", STAT),
            ("b 77 4712 .", "", "b", STAT),
            ("b 77 4711 .", "", "b", ""),
            ("b 77 4711 .", "3", "b", ""),
            ("b 77 4711 .", "", "b", &STAT.replace(" S ", " Z ")),
            ("b 77 47", "", "b", STAT),
            ("", "", "b", ""),
        ] {
            assert!(matches!(state(Some(mark), end, boot, stat), UnitState::Unknown(_)), "{mark} {end}");
        }
    }

    proptest! {
        #[test]
        fn marks_come_back(boot in "[0-9a-f-]{1,36}", pid: u32, start in "[0-9]{1,12}") {
            let mark = Mark { boot, pid, start };
            let line = format!("{} {} {} .", mark.boot, mark.pid, mark.start);
            // A marker that was cut anywhere is not taken for whole.
            for end in 0..line.len() {
                prop_assert_eq!(read_mark(line.get(..end).unwrap()), None);
            }
            prop_assert_eq!(read_mark(&line), Some(mark));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "(?s).{0,200}") {
            let units = vec!["0".to_owned()];
            prop_assert_eq!(read_report(&text, &units).len(), 1);
            let _ = (read_mark(&text), read_end(&text), read_start(&text));
        }
    }
}
