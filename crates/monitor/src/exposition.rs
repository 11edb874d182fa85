//! A strict reader of OpenMetrics 1.0 pages, which says where a page breaks the format.
//!
//! Source: the OpenMetrics 1.0 specification; where that leaves room, the official corpus decides.

use std::collections::HashSet;

use crate::error::Error;
use crate::point::{Family, Kind};
use crate::sample::{self, Sample};

type Checked<T> = Result<T, &'static str>;

/// What a valid page holds; see [`validate_openmetrics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PageSummary {
    /// Metric families, those without samples included.
    pub families: usize,
    /// Samples.
    pub samples: usize,
}

/// Checks that `page` is a valid OpenMetrics 1.0 text page. O(page); memory O(names and series).
///
/// # Errors
/// [`Error::Exposition`] with the first line that breaks the format.
///
/// ```
/// use mainspring_monitor::validate_openmetrics;
///
/// assert_eq!(validate_openmetrics(b"# TYPE a counter\na_total 1\n# EOF\n")?.samples, 1);
/// assert!(validate_openmetrics(b"# TYPE a counter\na_total -1\n# EOF\n").is_err());
/// # Ok::<(), mainspring_monitor::Error>(())
/// ```
pub fn validate_openmetrics(page: &[u8]) -> Result<PageSummary, Error> {
    let bad = |line, what| Error::Exposition { line, what };
    let page = str::from_utf8(page).map_err(|error| {
        let before = &page[..error.valid_up_to()];
        bad(
            before.iter().filter(|byte| **byte == b'\n').count() + 1,
            "not UTF-8",
        )
    })?;
    let mut reader = Reader::default();
    let mut last = 0;
    for (at, line) in page
        .strip_suffix('\n')
        .unwrap_or(page)
        .split('\n')
        .enumerate()
    {
        last = at + 1;
        reader.line(line).map_err(|what| bad(last, what))?;
    }
    if !reader.ended {
        return Err(bad(last, "no `# EOF` at the end"));
    }
    Ok(reader.summary)
}

#[derive(Default)]
struct Reader {
    /// Names that families print or reserve.
    taken: HashSet<String>,
    family: Option<Family>,
    ended: bool,
    summary: PageSummary,
}

impl Reader {
    fn line(&mut self, line: &str) -> Checked<()> {
        if self.ended {
            return Err("text after `# EOF`");
        }
        if line.is_empty() {
            return Err("blank line");
        }
        if line == "# EOF" {
            self.ended = true;
            return self.end_family();
        }
        match line.strip_prefix('#') {
            Some(rest) => self.metadata(rest),
            None => self.sample(line),
        }
    }

    fn metadata(&mut self, rest: &str) -> Checked<()> {
        let mut parts = rest
            .strip_prefix(' ')
            .ok_or("`#` without a space")?
            .splitn(3, ' ');
        let (Some(keyword), Some(name), Some(text)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err("metadata is `# KEYWORD name text`");
        };
        if !sample::is_metric_name(name) {
            return Err("illegal metric name");
        }
        if self
            .family
            .as_ref()
            .is_none_or(|family| family.name != name)
        {
            self.begin_family(name)?;
        }
        let Some(family) = &mut self.family else {
            return Err("no family");
        };
        if family.has_samples() {
            return Err("metadata after the family's samples");
        }
        match keyword {
            "HELP" => once(&mut family.help, text.to_owned()),
            "UNIT" => once(&mut family.unit, text.to_owned()),
            "TYPE" => once(&mut family.kind, Kind::parse(text).ok_or("unknown type")?),
            _ => Err("unknown keyword"),
        }
    }

    fn sample(&mut self, line: &str) -> Checked<()> {
        let sample = Sample::parse(line)?;
        self.summary.samples += 1;
        let ours = self
            .family
            .as_ref()
            .is_some_and(|family| family.suffix_of(&sample.name).is_some());
        if !ours {
            self.begin_family(&sample.name)?;
        }
        match &mut self.family {
            Some(family) => family.sample(sample),
            None => Err("no family"),
        }
    }

    fn begin_family(&mut self, name: &str) -> Checked<()> {
        self.end_family()?;
        self.summary.families += 1;
        self.family = Some(Family::new(name));
        Ok(())
    }

    fn end_family(&mut self) -> Checked<()> {
        let Some(family) = self.family.take() else {
            return Ok(());
        };
        for name in family.end()? {
            if !self.taken.insert(name) {
                return Err("a name that another family has");
            }
        }
        Ok(())
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Checked<()> {
    if place.is_some() {
        return Err("metadata repeated");
    }
    *place = Some(value);
    Ok(())
}
