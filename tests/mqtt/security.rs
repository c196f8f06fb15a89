//! Passwords and TLS.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use earwitness::publish::mqtt::{MqttError, probe, probe_as};

use crate::broker::{Mosquitto, free_port, run};
use crate::{config, gap, speaker, start, wait};

const TIMEOUT: Duration = Duration::from_secs(20);

/// What the broker knows of the user `ear`, and files with the password and with another one.
pub fn passwords(dir: &Path) {
    let known = dir.join("passwords");
    run(
        Path::new("mosquitto_passwd"),
        &["-b", "-c", known.to_str().unwrap(), "ear", "right one"],
    );
    fs::write(dir.join("right"), "right one\n").unwrap();
    fs::write(dir.join("wrong"), "wrong one\n").unwrap();
}

#[test]
fn the_right_password_connects_and_a_wrong_one_is_told_and_tried_seldom() {
    let broker = Mosquitto::with(
        "allow_anonymous false\npassword_file {dir}/passwords\n",
        passwords,
    );
    let with = |file: &str| config::Mqtt {
        username: Some("ear".into()),
        password_file: Some(broker.dir().join(file)),
        ..config(broker.port)
    };
    let (bus, status) = start(&with("right"));
    bus.publish(gap(0));
    wait("the event with the right password", || {
        status.get().acked == 1
    });
    // A probe beside it must not throw it out.
    let text = probe(&with("right"), TIMEOUT).unwrap();
    assert!(text.contains("accepted"), "{text}");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(
        (status.get().connected, status.get().connections),
        (true, 1)
    );
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());

    let (bus, status) = start(&with("wrong"));
    wait("the refusal", || status.get().last_error.is_some());
    let error = status.get().last_error.unwrap();
    assert!(error.contains("refused user name or password"), "{error}");
    assert!(!error.contains("wrong one"), "{error}");
    thread::sleep(Duration::from_secs(2));
    let begin = Instant::now();
    assert!(bus.shutdown(Duration::from_secs(2)).is_empty());
    assert!(begin.elapsed() < Duration::from_secs(1));
    let log = fs::read_to_string(broker.dir().join("log")).unwrap();
    assert_eq!(
        log.matches("not authorised").count(),
        1,
        "one attempt only:\n{log}"
    );

    let error = probe(&with("wrong"), TIMEOUT).unwrap_err().to_string();
    assert!(
        error.contains("check username and password_file"),
        "{error}"
    );
    let error = probe(&config(broker.port), TIMEOUT)
        .unwrap_err()
        .to_string();
    assert!(error.contains("refused user name or password"), "{error}");
}

/// A broker that lets us in, but takes our events only at `earwitness/test/kitchen/event/gap`.
fn strict() -> Mosquitto {
    // With room for 0 messages, which the other tests take for "any number", mosquitto 2.0.11 disconnects on a refusal.
    let lines = "allow_anonymous true\nacl_file {dir}/acl\nmax_queued_messages 1000\n";
    Mosquitto::with(lines, |dir| {
        let rules = "topic readwrite earwitness/test/kitchen/event/gap\ntopic readwrite earwitness/test/status\n";
        fs::write(dir.join("acl"), rules).unwrap();
    })
}

#[test]
fn mqtt_5_tells_what_an_access_list_refuses_and_it_is_not_sent_for_ever() {
    let broker = strict();
    let (bus, status) = start(&config::Mqtt {
        version: 5,
        ..config(broker.port)
    });
    (0..20).for_each(|n| bus.publish(speaker(n, "alice")));
    bus.publish(gap(20));
    wait("the one that is allowed", || status.get().acked == 1);
    wait("an end", || status.get().pending == 0);
    let now = status.get();
    assert_eq!((now.refused, now.connections), (20, 1), "{now:?}");
    let error = now.last_error.unwrap();
    // The last one may be of the stream's state, which it may not have either.
    let what = ["refuses an event: ", "refuses a retained message: "];
    let told = what.map(|what| error.contains(&format!("{what}NotAuthorized")));
    assert!(told.contains(&true), "{error}");
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn a_probe_tells_of_an_access_list_with_mqtt_5() {
    let broker = strict();
    let with = |version| config::Mqtt {
        version,
        ..config(broker.port)
    };
    let error = probe_as(&with(5), "test", TIMEOUT).unwrap_err();
    assert!(matches!(error, MqttError::Refused(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("earwitness/test/doctor: NotAuthorized"),
        "{error}"
    );
    assert!(probe_as(&with(4), "test", TIMEOUT).is_ok());
    let open = Mosquitto::start();
    let text = probe_as(
        &config::Mqtt {
            version: 5,
            ..config(open.port)
        },
        "test",
        TIMEOUT,
    );
    assert!(text.unwrap().contains("accepted us"));
}

#[test]
fn mqtt_3_1_1_cannot_tell_what_an_access_list_refuses() {
    let broker = strict();
    let (bus, status) = start(&config(broker.port));
    bus.publish(speaker(0, "alice"));
    bus.publish(gap(1));
    // The broker acknowledges both, and throws one away: that is why docs/mqtt.md recommends version 5.
    wait("both", || status.get().acked == 2);
    assert_eq!(status.get().refused, 0);
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn a_password_may_come_from_the_environment_and_mqtt_5_is_refused_in_words_too() {
    let broker = Mosquitto::with(
        "allow_anonymous false\npassword_file {dir}/passwords\n",
        |dir| {
            let passwords = dir.join("passwords");
            let passwords = passwords.to_str().unwrap();
            run(
                Path::new("mosquitto_passwd"),
                &["-b", "-c", passwords, "ear", "right one"],
            );
        },
    );
    let text = format!(
        "[[stream]]\nid = 'a'\nsource = {{ kind = 'stdin' }}\n[mqtt]\nbroker = 'mqtt://127.0.0.1:{}'\nusername = 'ear'\nversion = 5\n",
        broker.port
    );
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ew.toml"), text).unwrap();
    let doctor = |password: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_earwitness"))
            .args(["doctor", "--json", "-c", "ew.toml"])
            .env("EARWITNESS_MQTT_PASSWORD", password)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let broker = text
            .lines()
            .find(|line| line.contains("\"broker\""))
            .unwrap();
        broker.to_owned()
    };
    let right = doctor("right one");
    assert!(right.contains("accepted us"), "{right}");
    let wrong = doctor("wrong one");
    assert!(
        wrong.contains("refused user name or password") && !wrong.contains("wrong one"),
        "{wrong}"
    );
}

#[test]
fn a_probe_of_nobody_says_so() {
    let port = free_port();
    let error = probe(&config(port), TIMEOUT).unwrap_err();
    assert!(matches!(error, MqttError::Unreachable(_)));
    assert!(
        error.to_string().contains("is the broker running?"),
        "{error}"
    );
    // Accepts the connection and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let begin = Instant::now();
    let error = probe(
        &config(silent.local_addr().unwrap().port()),
        Duration::from_millis(300),
    );
    assert!(error.unwrap_err().to_string().contains("did not answer"));
    assert!(begin.elapsed() < Duration::from_secs(3));
}

/// An authority `name`.pem with a certificate for 127.0.0.1 that it signed, and keys.
pub fn authority(dir: &Path, name: &str) {
    let openssl = Path::new("openssl");
    let file = |suffix: &str| {
        dir.join(format!("{name}{suffix}"))
            .to_str()
            .unwrap()
            .to_owned()
    };
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
    ];
    let (ca_key, ca) = (file("-ca.key"), file(".pem"));
    let subject = format!("/CN={name}");
    let mut args = vec!["req", "-x509", "-days", "2", "-subj", &subject, "-out", &ca];
    args.extend(key);
    args.push(&ca_key);
    run(openssl, &args);
    for (kind, extension) in [
        (
            "server",
            "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n",
        ),
        (
            "client",
            "subjectAltName=DNS:earwitness\nextendedKeyUsage=clientAuth\n",
        ),
    ] {
        let (own_key, request) = (file(&format!("-{kind}.key")), file(&format!("-{kind}.csr")));
        let (cert, extensions) = (file(&format!("-{kind}.pem")), file(&format!("-{kind}.ext")));
        let subject = format!("/CN={kind}");
        let mut args = vec!["req", "-subj", &subject, "-out", &request];
        args.extend(key);
        args.push(&own_key);
        run(openssl, &args);
        fs::write(&extensions, extension).unwrap();
        run(
            openssl,
            &[
                "x509",
                "-req",
                "-days",
                "2",
                "-in",
                &request,
                "-CA",
                &ca,
                "-CAkey",
                &ca_key,
                "-CAcreateserial",
                "-extfile",
                &extensions,
                "-out",
                &cert,
            ],
        );
    }
}

#[test]
fn tls_trusts_the_given_authority_only() {
    let broker = Mosquitto::with(
        "allow_anonymous true\ncertfile {dir}/ours-server.pem\nkeyfile {dir}/ours-server.key\n",
        |dir| {
            authority(dir, "ours");
            authority(dir, "theirs");
        },
    );
    let with = |ca: &str| config::Mqtt {
        broker: format!("mqtts://127.0.0.1:{}", broker.port),
        ca_file: Some(broker.dir().join(ca)),
        ..config::Mqtt::default()
    };
    let (bus, status) = start(&with("ours.pem"));
    bus.publish(gap(0));
    wait("the event over TLS", || status.get().acked == 1);
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
    assert!(probe(&with("ours.pem"), TIMEOUT).is_ok());
    let error = probe(&with("theirs.pem"), TIMEOUT).unwrap_err().to_string();
    assert!(
        error.contains("TLS") && error.contains("check ca_file"),
        "{error}"
    );
}

#[test]
fn a_broker_that_wants_a_client_certificate_gets_it() {
    let broker = Mosquitto::with(
        "allow_anonymous true\nrequire_certificate true\ncafile {dir}/ours.pem\n\
         certfile {dir}/ours-server.pem\nkeyfile {dir}/ours-server.key\n",
        |dir| authority(dir, "ours"),
    );
    let file = |name: &str| Some(broker.dir().join(name));
    let without = config::Mqtt {
        broker: format!("mqtts://127.0.0.1:{}", broker.port),
        ca_file: file("ours.pem"),
        ..config::Mqtt::default()
    };
    let with = config::Mqtt {
        client_cert_file: file("ours-client.pem"),
        client_key_file: file("ours-client.key"),
        ..without.clone()
    };
    assert!(probe(&with, TIMEOUT).is_ok());
    assert!(probe(&without, TIMEOUT).is_err());
    let half = config::Mqtt {
        client_cert_file: file("ours-client.pem"),
        ..without
    };
    assert!(matches!(
        probe(&half, TIMEOUT),
        Err(MqttError::HalfIdentity)
    ));
}
