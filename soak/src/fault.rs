//! What goes wrong, and when.

use fastrand::Rng;

/// Something that goes wrong for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    Restart,
    DiskFull,
    SizeLimit,
    Damage,
    MemoryLimit,
    SlowDisk,
    Pause,
    RedisDead,
    RedisSlow,
    Provider,
    Pressure,
    Clock,
}

impl Fault {
    /// Those after which a server starts anew, and those that it lives through.
    const ENDING: [Self; 5] = [
        Self::Kill,
        Self::Restart,
        Self::DiskFull,
        Self::SizeLimit,
        Self::MemoryLimit,
    ];
    const LASTING: [Self; 7] = [
        Self::SlowDisk,
        Self::Pause,
        Self::RedisDead,
        Self::RedisSlow,
        Self::Provider,
        Self::Pressure,
        Self::Clock,
    ];

    /// Its name in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Restart => "restart",
            Self::DiskFull => "disk full",
            Self::SizeLimit => "file size limit",
            Self::Damage => "damaged segment",
            Self::MemoryLimit => "memory limit",
            Self::SlowDisk => "slow disk",
            Self::Pause => "process paused",
            Self::RedisDead => "dead redis",
            Self::RedisSlow => "slow redis",
            Self::Provider => "provider in trouble",
            Self::Pressure => "memory pressure",
            Self::Clock => "clock jump",
        }
    }

    /// A round of all of them, in an order of its own; `last` has those at its end that a server
    /// lives through, so that what they leave behind is seen in the process that had them.
    pub(crate) fn round(rng: &mut Rng, last: bool) -> Vec<Self> {
        let (mut ending, mut lasting) = (Self::ENDING.to_vec(), Self::LASTING.to_vec());
        // Killing is what happens most.
        ending.push(Self::Kill);
        if last {
            ending.push(Self::Damage);
        }
        rng.shuffle(&mut ending);
        rng.shuffle(&mut lasting);
        ending.append(&mut lasting);
        if !last {
            rng.shuffle(&mut ending);
        }
        ending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_round_has_every_fault_and_ends_with_those_that_a_server_lives_through() {
        let mut rng = Rng::with_seed(1);
        let round = Fault::round(&mut rng, true);
        for fault in Fault::ENDING.into_iter().chain(Fault::LASTING) {
            assert!(round.contains(&fault), "{fault:?}");
        }
        assert!(round.contains(&Fault::Damage));
        let tail = &round[round.len() - Fault::LASTING.len()..];
        assert!(
            tail.iter().all(|fault| Fault::LASTING.contains(fault)),
            "{round:?}"
        );
    }

    #[test]
    fn damage_comes_once_and_the_seed_decides_the_order() {
        let rounds = |seed| {
            let mut rng = Rng::with_seed(seed);
            [Fault::round(&mut rng, false), Fault::round(&mut rng, true)]
        };
        assert_eq!(rounds(5), rounds(5));
        assert_ne!(rounds(5), rounds(6));
        assert!(!rounds(5)[0].contains(&Fault::Damage));
    }
}
