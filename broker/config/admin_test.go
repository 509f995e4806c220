package config

import (
	"strings"
	"testing"
)

// TestAdminListener: what other machines reach is encrypted and wants a login, and the refusal names the settings
// that are missing.
func TestAdminListener(t *testing.T) {
	key := "listener.name.admin.ssl.keystore.location=/k.pem"
	for _, tt := range []struct {
		set     string
		missing string // "" where the settings are taken
	}{
		{"", ""},
		{"varve.admin.listener=", ""},
		{"varve.admin.listener=localhost:1", ""},
		{"varve.admin.listener=[::1]:1", ""},
		{"varve.admin.listener=127.3.2.1:1", ""},
		{"varve.admin.listener=:1", "set varve.admin.ssl.enable=true and varve.admin.users.file, or bind it to 127.0.0.1"},
		{"varve.admin.listener=0.0.0.0:1", "varve.admin.ssl.enable=true and varve.admin.users.file"},
		{"varve.admin.listener=10.0.0.1:1 varve.admin.users.file=/u", "set varve.admin.ssl.enable=true, or"},
		{"varve.admin.listener=host.example:1 varve.admin.ssl.enable=true " + key, "set varve.admin.users.file, or"},
		{"varve.admin.listener=:1 varve.admin.users.file=/u varve.admin.ssl.enable=true", "ssl.keystore.location"},
		{"varve.admin.listener=:1 varve.admin.users.file=/u varve.admin.ssl.enable=true " + key, ""},
		{"varve.admin.listener=:1 varve.admin.users.file=/u varve.admin.ssl.enable=true ssl.keystore.location=/k.pem", ""},
		{key, "listener that listeners does not name"}, // it would protect nothing
	} {
		n, _, err := Load(Sources{Set: strings.Fields(tt.set)})
		switch {
		case tt.missing == "" && err != nil:
			t.Errorf("%s: %v", tt.set, err)
		case tt.missing != "" && (err == nil || !strings.Contains(err.Error(), tt.missing)):
			t.Errorf("%s: %v, want %s", tt.set, err, tt.missing)
		case err == nil && (n.AdminSecurity != nil) != strings.Contains(tt.set, "ssl.enable"):
			t.Errorf("%s: TLS is %v", tt.set, n.AdminSecurity)
		}
	}
}
