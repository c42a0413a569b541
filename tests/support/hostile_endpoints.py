"""Endpoints that an attacker might subscribe with, by the trick they try. None may be stored, none posted to."""

HOSTILE_ENDPOINTS: dict[str, tuple[str, ...]] = {
    "an address for a name": (
        *(
            "https://127.0.0.1/x",
            "https://10.0.0.1/x",
            "https://169.254.169.254/latest/meta-data",
            "https://8.8.8.8/x",
        ),
        *("https://2130706433/x", "https://0177.0.0.1/x", "https://017700000001/x", "https://0x7f.1/x"),
        *("https://0x7f000001/x", "https://127.1/x", "https://127.0.1/x", "https://0/x", "https://127.0.0.1./x"),
    ),
    "an IPv6 address": (
        *("https://[::1]/x", "https://[::]/x", "https://[::ffff:127.0.0.1]/x", "https://[::ffff:7f00:1]/x"),
        *("https://[::127.0.0.1]/x", "https://[64:ff9b::7f00:1]/x", "https://[2002:7f00:1::1]/x"),
        *("https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/x", "https://[fe80::1]/x", "https://[fe80::1%25eth0]/x"),
        *("https://[fd00::1]/x", "https://[::1%25lo]/x", "https://[fcm.googleapis.com]/x", "https://[v1.a]/x"),
    ),
    "a user's name that looks like the host": (
        *("https://fcm.googleapis.com@evil.example/x", "https://fcm.googleapis.com:443@evil.example/x"),
        *("https://fcm.googleapis.com%40evil.example/x", "https://fcm.googleapis.com%2f@evil.example/x"),
        *("https://fcm.googleapis.com\\@evil.example/x", "https://evil.example\\@fcm.googleapis.com/x"),
        *("https://evil.example#@fcm.googleapis.com/x", "https://evil.example?@fcm.googleapis.com/x"),
        *("https://user:password@fcm.googleapis.com/x", "https://@fcm.googleapis.com/x"),
    ),
    "a dot too many": (
        *("https://fcm.googleapis.com./x", "https://FCM.GOOGLEAPIS.COM./x", "https://.fcm.googleapis.com/x"),
        *("https://fcm..googleapis.com/x", "https://web.push.apple.com./x", "https://a..push.apple.com/x"),
        *("https://fcm%2egoogleapis.com/x", "https://fcm.googleapis.com%2e/x", "https://fcm.googleapis.com%00/x"),
    ),
    "letters that look alike": (
        *(
            "https://fcm.googleapıs.com/x",
            "https://xn--fcm-googleaps-4zb.com/x",
            "https://fcm.xn--googleaps-bcb.com/x",
        ),
        *("https://ｆcm.googleapis.com/x", "https://fcm。googleapis.com/x", "https://fcm．googleapis．com/x"),
        *("https://fcm.googleapiſ.com/x", "https://web.pu\u00adsh.apple.com/x", "https://①②⑦.0.0.1/x"),
        *("https://\u212a.push.apple.com/x", "https://fcm.googleapis.com\u2215.evil.example/x"),
    ),
    "a host that looks alike": (
        *(
            "https://evilfcm.googleapis.com.example/x",
            "https://notfcm.googleapis.com/x",
            "https://googleapis.com/x",
        ),
        *("https://fcm.googleapis.com.evil.example/x", "https://sub.fcm.googleapis.com/x"),
        *("https://push.apple.com/x", "https://evilpush.apple.com/x", "https://x.push.apple.com.evil.example/x"),
        *("https://notify.windows.com/x", "https://evilnotify.windows.com/x", "https://a_b.push.apple.com/x"),
        *("https://evil.example/.push.apple.com", "https://evil.example/https://fcm.googleapis.com/x"),
    ),
    "a port": (
        *("https://fcm.googleapis.com:80/x", "https://fcm.googleapis.com:8443/x", "https://fcm.googleapis.com:/x"),
        *(
            "https://fcm.googleapis.com:0/x",
            "https://fcm.googleapis.com:99999/x",
            "https://fcm.googleapis.com:-443/x",
        ),
        *(
            "https://fcm.googleapis.com:+443/x",
            "https://fcm.googleapis.com:44３/x",
            "https://fcm.googleapis.com:a/x",
        ),
        *("https://fcm.googleapis.com:443:22/x", "https://fcm.googleapis.com:4_43/x"),
    ),
    "a scheme": (
        *("http://fcm.googleapis.com/x", "https:fcm.googleapis.com/x", "https:/fcm.googleapis.com/x"),
        *(
            "https:///fcm.googleapis.com/x",
            "//fcm.googleapis.com/x",
            "fcm.googleapis.com/x",
            "https:\\\\evil.example",
        ),
        *("file:///etc/passwd", "gopher://fcm.googleapis.com/x", "ftp://fcm.googleapis.com/x", "javascript:1"),
        *("https+unix://fcm.googleapis.com/x", "view-source:https://fcm.googleapis.com/x", ""),
    ),
    "a character that no URL has": (
        *("https://fcm.googleapis.com/x\r\nX-Injected: 1", "https://fcm.googleapis.com\r\n.evil.example/x"),
        *("https://fcm.googleapis.com/\x00", "https://fcm.googleapis.com\x00.evil.example/x"),
        *("https://fcm.goo\tgleapis.com/x", "ht\ntps://evil.example/x", " https://fcm.googleapis.com/x"),
        *(
            "https://fcm.googleapis.com/a b",
            "https://fcm.googleapis.com/x\x7f",
            "https://fcm.googleapis.com/\ud800",
        ),
    ),
    "a path": (
        *("https://fcm.googleapis.com//evil.example/x", "https://fcm.googleapis.com/fcm/../../x"),
        *("https://fcm.googleapis.com/%2e%2e/x", "https://fcm.googleapis.com/fcm/send/x#fragment"),
        *("https://fcm.googleapis.com/x[1]", "https://fcm.googleapis.com/x?[1]"),
        *("https://fcm.googleapis.com/%zz", "https://fcm.googleapis.com/" + "x" * 2048),
    ),
}
EACH_HOSTILE_ENDPOINT = tuple(endpoint for endpoints in HOSTILE_ENDPOINTS.values() for endpoint in endpoints)
