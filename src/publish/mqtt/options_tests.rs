use super::*;

fn refused(change: impl FnOnce(&mut config::Mqtt)) -> MqttError {
    let mut config = config::Mqtt::default();
    change(&mut config);
    Options::new(&config, "home").err().unwrap()
}

#[test]
fn defaults_give_a_persistent_session_with_a_stable_id_and_a_will() {
    let options = Options::new(&config::Mqtt::default(), "home").unwrap();
    let topics = Topics::new("earwitness", "home").unwrap();
    let Ok(wire::Options::V4(session)) = options.connection(Some(&topics)) else {
        panic!("MQTT 3.1.1 is the default")
    };
    assert_eq!(session.client_id(), "earwitness-home");
    assert!(!session.clean_session());
    assert_eq!(session.max_packet_size(), 1 << 20);
    let will = session.last_will().unwrap();
    assert_eq!(
        (will.topic.as_str(), will.retain),
        ("earwitness/home/status", true)
    );
    assert_eq!(
        (&will.message[..], will.qos),
        (&b"offline"[..], QoS::AtLeastOnce)
    );
}

#[test]
fn mqtt_5_says_the_same_in_its_own_words() {
    let config = config::Mqtt {
        version: 5,
        ..config::Mqtt::default()
    };
    let options = Options::new(&config, "home").unwrap();
    let topics = Topics::new("earwitness", "home").unwrap();
    let Ok(wire::Options::V5(session)) = options.connection(Some(&topics)) else {
        panic!("version = 5")
    };
    assert_eq!(session.client_id(), "earwitness-home");
    assert!(!session.clean_start());
    assert_eq!(session.session_expiry_interval(), Some(86_400));
    assert_eq!(session.max_packet_size(), Some(1 << 20));
    let will = session.last_will().unwrap();
    assert_eq!(
        (&will.topic[..], &will.message[..], will.retain),
        (&b"earwitness/home/status"[..], &b"offline"[..], true)
    );
    // rumqttc would end the process.
    assert!(matches!(
        refused(|c| (c.version, c.keep_alive_s) = (5, 4)),
        MqttError::KeepAlive(4)
    ));
}

#[test]
fn mistakes_are_named() {
    assert!(matches!(
        refused(|c| c.broker = "localhost".into()),
        MqttError::Address(_)
    ));
    assert!(matches!(
        refused(|c| c.client_id = Some("a b".into())),
        MqttError::ClientId(_)
    ));
    assert!(matches!(refused(|c| c.version = 3), MqttError::Version(3)));
    assert!(matches!(
        refused(|c| c.keep_alive_s = 0),
        MqttError::KeepAlive(0)
    ));
    assert!(matches!(
        refused(|c| c.keep_alive_s = 70_000),
        MqttError::KeepAlive(70_000)
    ));
    assert!(matches!(
        refused(|c| c.password_file = Some("x".into())),
        MqttError::PasswordAlone
    ));
    assert!(matches!(
        refused(|c| c.ca_file = Some("ca.pem".into())),
        MqttError::TlsUnused("ca_file")
    ));
    let error = refused(|c| {
        c.broker = "mqtts://h".into();
        c.ca_file = Some("/nonexistent/ca.pem".into());
    });
    assert!(
        error.to_string().contains("ca_file = /nonexistent/ca.pem"),
        "{error}"
    );
}

#[test]
fn the_password_is_the_first_line_and_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    fs::write(&path, "first\nignored\n").unwrap();
    let config = config::Mqtt {
        username: Some("me".into()),
        password_file: Some(path.clone()),
        ..config::Mqtt::default()
    };
    let options = Options::new(&config, "home").unwrap();
    let password = || match options.connection(None).unwrap() {
        wire::Options::V4(options) => options.credentials().unwrap().password,
        wire::Options::V5(_) => panic!("MQTT 3.1.1 is the default"),
    };
    assert_eq!(password(), "first");
    fs::write(&path, "second").unwrap();
    assert_eq!(password(), "second");
    fs::write(&path, "\n").unwrap();
    let error = options.connection(None).err().unwrap();
    assert!(error.to_string().contains("password_file"), "{error}");
}

#[test]
fn files_that_are_no_certificates_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    fs::write(&path, "not a certificate").unwrap();
    let error = refused(|c| {
        c.broker = "mqtts://h".into();
        c.ca_file = Some(path.clone());
    });
    assert!(
        matches!(error, MqttError::File { key: "ca_file", .. }),
        "{error}"
    );
}
