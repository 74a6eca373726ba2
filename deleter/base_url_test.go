package deleter

import "testing"

func TestCheckBaseURL(t *testing.T) {
	for raw, ok := range map[string]bool{
		"https://api.example": true, "https://api.example/": true, "https://api.example:8443/base": true,
		"http://127.0.0.1:8081": true, "http://[::1]:8081": true, "http://localhost": true,
		"http://api.example": false, "http://10.0.0.1": false, "ftp://api.example": false, "api.example": false, "": false,
		"https://": false, "https://user:pass@api.example": false, "https://api.example?x=1": false, "https://api.example/#f": false,
		"https://api.example/?": false, "https://api.example/#": false, "https://api.example:0": false, "https://api.example:65536": false,
		"https://api.example:65535": true, "HTTPS://api.example": true, "://": false, "http://localhost.evil.example": false,
	} {
		if _, err := CheckBaseURL(raw, false); (err == nil) != ok {
			t.Errorf("%q: %v", raw, err)
		}
	}
	if u, err := CheckBaseURL("https://api.example:/base", false); err != nil || u.Host != "api.example" {
		t.Errorf("with an empty port: %v, %v", u, err)
	}
	if _, err := CheckBaseURL("http://sandbox:8081", true); err != nil {
		t.Errorf("allowed, but %v", err)
	}
}
