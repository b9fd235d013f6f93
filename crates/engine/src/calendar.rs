//! Dates and identifiers as texts.

use data_encoding::BASE64URL_NOPAD;
use manifold_model::Millis;

/// `2026-01-31 23:59:59 UTC`.
pub(crate) fn timestamp(at: Millis) -> String {
    let seconds = at.div_euclid(1000);
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3600, of_day % 3600 / 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar: a year begins in March, so that the leap
/// day is its last.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A 22-character id as a lower-case UUID with dashes; another text as it is.
pub(crate) fn uuid_of(id: &str) -> String {
    let Ok(bytes) = BASE64URL_NOPAD.decode(id.as_bytes()) else { return id.to_owned() };
    if bytes.len() != 16 {
        return id.to_owned();
    }
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(timestamp(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(timestamp(951_782_399_000), "2000-02-28 23:59:59 UTC");
        assert_eq!(timestamp(951_782_400_999), "2000-02-29 00:00:00 UTC");
        assert_eq!(timestamp(1_798_761_599_000), "2026-12-31 23:59:59 UTC");
        assert_eq!(timestamp(-1), "1969-12-31 23:59:59 UTC");
    }

    #[test]
    fn ids_of_16_bytes_are_uuids() {
        assert_eq!(uuid_of("AAECAwQFBgcICQoLDA0ODw"), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(uuid_of("not an id"), "not an id");
    }
}
