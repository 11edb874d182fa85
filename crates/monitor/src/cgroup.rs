//! The limits that a container puts on this process.

use std::path::{Path, PathBuf};

/// Limits of the control group this process is in; None where there is no limit or no group.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct CgroupLimits {
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Processors, 1.5 for one and a half.
    pub cpus: Option<f64>,
}

impl CgroupLimits {
    /// Reads the limits of the group and of all groups around it; the tightest counts. Knows
    /// version 2 and, for memory and quota, version 1.
    #[must_use]
    pub fn read() -> Self {
        Self::read_from(
            Path::new("/sys/fs/cgroup"),
            &std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
        )
    }

    /// The same from another root and another `/proc/self/cgroup`.
    #[must_use]
    pub fn read_from(root: &Path, membership: &str) -> Self {
        let mut limits = Self::default();
        for line in membership.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(group)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let has = |name| controllers.split(',').any(|controller| controller == name);
            for folder in folders(root, controllers, group) {
                if controllers.is_empty() {
                    limits.tighten(memory(&folder, "memory.max"), quota_v2(&folder));
                } else if has("memory") {
                    limits.tighten(memory(&folder, "memory.limit_in_bytes"), None);
                } else if has("cpu") {
                    limits.tighten(None, quota_v1(&folder));
                }
            }
        }
        limits
    }

    fn tighten(&mut self, memory: Option<u64>, cpus: Option<f64>) {
        self.memory_bytes = [self.memory_bytes, memory].into_iter().flatten().min();
        self.cpus = [self.cpus, cpus].into_iter().flatten().reduce(f64::min);
    }
}

/// The group's folder and those around it. In a container the path may not exist below the root,
/// which then is the group itself.
fn folders(root: &Path, controllers: &str, group: &str) -> Vec<PathBuf> {
    let root = if controllers.is_empty() {
        root.to_owned()
    } else {
        root.join(controllers)
    };
    let inside = root.join(group.trim_start_matches('/'));
    let around = inside
        .ancestors()
        .take_while(|folder| folder.starts_with(&root));
    around.map(Path::to_owned).collect()
}

fn memory(folder: &Path, file: &str) -> Option<u64> {
    // "max", or for version 1 a number near 2⁶³, mean no limit.
    let bytes = number(folder, file)?;
    (bytes < 1 << 60).then_some(bytes)
}

fn quota_v1(folder: &Path) -> Option<f64> {
    let quota = number(folder, "cpu.cfs_quota_us")?;
    let period = number(folder, "cpu.cfs_period_us").filter(|period| *period > 0)?;
    Some(quota as f64 / period as f64)
}

fn quota_v2(folder: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(folder.join("cpu.max")).ok()?;
    let mut fields = text
        .split_ascii_whitespace()
        .map(|field| field.parse::<u64>().ok());
    let (quota, period) = (
        fields.next()??,
        fields.next()?.filter(|period| *period > 0)?,
    );
    Some(quota as f64 / period as f64)
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    std::fs::read_to_string(folder.join(file))
        .ok()?
        .trim()
        .parse()
        .ok()
}
