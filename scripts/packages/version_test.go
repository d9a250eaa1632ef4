package main

import (
	"os/exec"
	"regexp"
	"testing"
	"time"
)

var day = time.Date(2026, 11, 25, 23, 30, 0, 0, time.FixedZone("", -3600)) // the 26th in UTC

func TestPackageVersions(t *testing.T) {
	// In the order that package managers must put them in.
	tests := []struct {
		version, commit string
		deb, apk        string
	}{
		{"devel", "", "0.0.0+git20261126", "0.0.0_git20261126"},
		{"devel", "abc1234", "0.0.0+git20261126.abc1234", "0.0.0_git20261126"},
		{"devel", "abc1234-dirty", "0.0.0+git20261126.abc1234.dirty", "0.0.0_git20261126"},
		{"v0.9", "", "0.9", "0.9"},
		{"v1.2.3-beta.2", "", "1.2.3~beta2", "1.2.3_beta2"},
		{"v1.2.3-rc1", "", "1.2.3~rc1", "1.2.3_rc1"},
		{"v1.2.3-rc1-4-gabc1234", "", "1.2.3~rc1+4.gabc1234", "1.2.3_rc1_p4"},
		{"1.2.3", "", "1.2.3", "1.2.3"},
		{"v1.2.3-5-gabc1234", "", "1.2.3+5.gabc1234", "1.2.3_p5"},
		{"v1.2.3-12-g0c1d2e3-dirty", "", "1.2.3+12.g0c1d2e3+dirty", "1.2.3_p12_p0"},
		{"v1.2.4", "", "1.2.4", "1.2.4"},
	}
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Log("no dpkg here to compare them")
	}
	apk := regexp.MustCompile(`^\d+(\.\d+)*(_(alpha|beta|pre|rc|git|p)\d*)*$`)
	for i, tt := range tests {
		got, err := packageVersions(tt.version, tt.commit, day)
		if want := (versions{tt.deb, tt.deb, tt.apk}); err != nil || got != want {
			t.Errorf("%s %s: %+v, %v; want %+v", tt.version, tt.commit, got, err, want)
		}
		if !apk.MatchString(got.apk) {
			t.Errorf("%s: apk takes no %q", tt.version, got.apk)
		}
		if dpkg == "" || i == 0 {
			continue
		}
		if out, err := exec.Command(dpkg, "--compare-versions", tests[i-1].deb, "lt", got.deb).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s is not before %s: %v %s", tests[i-1].deb, got.deb, err, out)
		}
	}
	for _, bad := range []string{"", "v", "1.2.x", "v1.2.3-final", "1.2.3 4", "v1.2.3-5", "$(id)", "1.2.3-rc1/../x", "v1.2.3\n"} {
		if v, err := packageVersions(bad, "", day); err == nil {
			t.Errorf("%q makes %+v, want an error", bad, v)
		}
	}
	if v, err := packageVersions("devel", "; rm", day); err != nil || v.deb != "0.0.0+git20261126" {
		t.Errorf("an odd commit: %+v, %v", v, err)
	}
}
