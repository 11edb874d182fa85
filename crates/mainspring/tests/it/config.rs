//! Settings by name, from the environment and from files.

use mainspring::{Config, ConfigError, Profile};

#[test]
fn every_knob_can_be_set_to_the_value_that_it_shows() {
    for profile in [Profile::Laptop, Profile::Workstation, Profile::Server] {
        let mut config = Profile::Laptop.config();
        for knob in Config::knobs() {
            config
                .set(knob.name, &knob.value(&profile.config()))
                .unwrap();
        }
        assert_eq!(config, profile.config());
    }
}

#[test]
fn unknown_names_are_refused_with_the_nearest_and_values_with_what_is_taken() {
    let mut config = Profile::Laptop.config();
    for (name, nearest) in [
        ("cache.tll", Some("cache.ttl")),
        ("session.windw", Some("session.window")),
        ("tools.limits", Some("tools.limit")),
        ("something.else.altogether", None),
    ] {
        match config.set(name, "1") {
            Err(ConfigError::Unknown { nearest: found, .. }) => {
                assert_eq!(found.as_deref(), nearest, "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    for (name, value) in [
        ("cache.ttl", "5 fortnights"),
        ("cache.disk_bytes", "99999999999 GiB"),
        ("session.window", "many"),
        ("upkeep.compact_above", "300"),
        ("runtime.read_only", "perhaps"),
    ] {
        let error = config.set(name, value).unwrap_err();
        assert!(matches!(error, ConfigError::Value { .. }), "{error}");
    }
    assert_eq!(config, Profile::Laptop.config());
}

#[test]
fn the_environment_sets_knobs_and_other_variables_are_left_alone() {
    let set = |variables: &[(&str, &str)]| {
        let owned = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Profile::Laptop.config().with_env(owned.collect::<Vec<_>>())
    };
    let config = set(&[
        ("MAINSPRING_SESSION_WINDOW", "1_000"),
        ("MAINSPRING_SESSION_DURABILITY", "250 ms"),
        ("MAINSPRING_DATA", "/data"),
        ("PATH", "/bin"),
    ]);
    let config = config.unwrap();
    assert_eq!(config.window, 1_000);
    assert_eq!(
        config.durability,
        mainspring::mmap_store::Durability::Interval(std::time::Duration::from_millis(250))
    );
    let error = set(&[("MAINSPRING_SESION_WINDOW", "1")]).unwrap_err();
    assert!(
        error.to_string().contains("MAINSPRING_SESSION_WINDOW"),
        "{error}"
    );
}

#[cfg(feature = "config")]
mod file {
    use std::collections::BTreeMap;

    use mainspring::{ConfigError, ConfigFile, Profile};

    #[test]
    fn a_file_sets_knobs_and_the_environment_has_the_last_word() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mainspring.toml");
        let text = "[session]\nwindow = 5_000\n[cache]\nttl = \"2 min\"\ndisk_bytes = 1000\n";
        std::fs::write(&path, text).unwrap();
        let config = ConfigFile::read(&path)
            .unwrap()
            .apply(Profile::Server)
            .unwrap();
        assert_eq!((config.window, config.cache_disk_bytes), (5_000, 1_000));
        assert_eq!(config.clear_above, Profile::Server.config().clear_above);
        let variable = ("MAINSPRING_CACHE_TTL".to_owned(), "7".to_owned());
        assert_eq!(config.with_env([variable]).unwrap().cache_ttl.as_secs(), 7);
        assert!(matches!(
            ConfigFile::read(dir.path().join("none")),
            Err(ConfigError::File { .. })
        ));
    }

    #[test]
    fn wrong_names_are_refused_when_the_file_is_read() {
        for (text, nearest) in [
            ("[cahce]\nttl = 1", "cache"),
            ("[cache]\ntll = 1", "cache.ttl"),
            ("sesion = 1", "session"),
        ] {
            let error = ConfigFile::parse(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{nearest}`")), "{text}: {error}");
        }
        assert!(matches!(
            ConfigFile::parse("[cache"),
            Err(ConfigError::File { .. })
        ));
    }

    #[test]
    fn sections_of_the_application_are_decoded_when_they_are_asked_for() {
        let file = ConfigFile::parse("[app.ui]\na = 1\n[app.broken]\na = 'x'\n").unwrap();
        let first = file.app::<BTreeMap<String, u32>>("ui").unwrap();
        let again = file.app::<BTreeMap<String, u32>>("ui").unwrap();
        assert!(std::sync::Arc::ptr_eq(&first, &again));
        assert!(matches!(
            file.app::<BTreeMap<String, u32>>("broken"),
            Err(ConfigError::File { .. })
        ));
        assert!(matches!(
            file.app::<u32>("uj"),
            Err(ConfigError::Unknown { nearest: Some(name), .. }) if name == "ui"
        ));
    }
}
