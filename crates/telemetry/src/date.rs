//! Dates as text, without a library: RFC 3339 for logs, IMF-fixdate for `Date` (RFC 9110 5.6.7).

/// (year, month 1-12, day 1-31) of days since 1970-01-01; the algorithm is Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn two(out: &mut [u8], value: u32) {
    out[0] = b'0' + (value / 10 % 10) as u8;
    out[1] = b'0' + (value % 10) as u8;
}

/// The second that was formatted last, kept by each worker.
#[derive(Debug)]
pub struct DateCache {
    second: u64,
    rfc3339: [u8; 24],
}

impl Default for DateCache {
    fn default() -> Self {
        let mut cache = Self { second: u64::MAX, rfc3339: *b"1970-01-01T00:00:00.000Z" };
        cache.refresh(0);
        cache
    }
}

impl DateCache {
    fn refresh(&mut self, second: u64) {
        if self.second == second {
            return;
        }
        self.second = second;
        let (year, month, day) = civil((second / 86_400) as i64);
        let of_day = (second % 86_400) as u32;
        let out = &mut self.rfc3339;
        two(&mut out[0..2], (year / 100) as u32);
        two(&mut out[2..4], (year % 100) as u32);
        two(&mut out[5..7], month);
        two(&mut out[8..10], day);
        two(&mut out[11..13], of_day / 3_600);
        two(&mut out[14..16], of_day / 60 % 60);
        two(&mut out[17..19], of_day % 60);
    }

    /// `2026-11-23T01:02:03.456Z`
    pub fn rfc3339(&mut self, unix_ms: u64) -> [u8; 24] {
        self.refresh(unix_ms / 1_000);
        let mut out = self.rfc3339;
        let millis = (unix_ms % 1_000) as u32;
        out[20] = b'0' + (millis / 100) as u8;
        two(&mut out[21..23], millis % 100);
        out
    }
}

/// IMF-fixdate of seconds since 1970: `Mon, 23 Nov 2026 01:02:03 GMT`.
pub fn http_date(second: u64) -> [u8; 29] {
    const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let days = second / 86_400;
    let of_day = (second % 86_400) as u32;
    let (year, month, day) = civil(days as i64);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    out[0..3].copy_from_slice(DAYS[(days % 7) as usize]);
    two(&mut out[5..7], day);
    out[8..11].copy_from_slice(MONTHS[(month - 1) as usize]);
    two(&mut out[12..14], (year / 100) as u32);
    two(&mut out[14..16], (year % 100) as u32);
    two(&mut out[17..19], of_day / 3_600);
    two(&mut out[20..22], of_day / 60 % 60);
    two(&mut out[23..25], of_day % 60);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_known_dates() {
        let mut cache = DateCache::default();
        assert_eq!(&cache.rfc3339(1_709_251_199_007), b"2024-02-29T23:59:59.007Z");
        assert_eq!(&http_date(1_709_251_199), b"Thu, 29 Feb 2024 23:59:59 GMT");
        assert_eq!(&http_date(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&cache.rfc3339(0), b"1970-01-01T00:00:00.000Z");
    }
}
