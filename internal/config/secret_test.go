package config

import "testing"

func TestLineEndsAfterASecretAreRemoved(t *testing.T) {
	for value, want := range map[string]string{"abc": "abc", "abc\n": "abc", "abc\r\n": "abc", "abc\n\n": "abc", "\n": "", "": "", " a ": " a ", "a\nb": "a\nb"} {
		var s Secret
		if err := s.Decode(value); err != nil || s.Reveal() != want {
			t.Errorf("%q: %q, %v", value, s.Reveal(), err)
		}
	}
}
