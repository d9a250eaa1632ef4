package main

import (
	"fmt"
	"regexp"
	"time"
)

// versions are one version as each kind of package writes it.
type versions struct{ deb, rpm, apk string }

// described is what git describe --tags --dirty says, for tags such as v1.2.3 and v1.2.3-rc1.
var described = regexp.MustCompile(`^v?(\d+(?:\.\d+)*)(?:-(alpha|beta|pre|rc)\.?(\d*))?(?:-(\d+)-g([0-9a-f]+))?(-dirty)?$`)

// packageVersions turns a version of git's into those of packages, so that a package from a later commit is
// an upgrade: deb and rpm sort ~ before everything and + after, apk has words for both
// (deb-version(7), rpm-version(7), apk-package(5)). Without a tag ("devel") the day of the commit tells them apart.
func packageVersions(version, commit string, at time.Time) (versions, error) {
	if version == "devel" {
		day := "git" + at.UTC().Format("20060102")
		v := versions{"0.0.0+" + day, "", "0.0.0_" + day}
		if regexp.MustCompile(`^[0-9a-f]+(-dirty)?$`).MatchString(commit) {
			v.deb += "." + regexp.MustCompile(`-`).ReplaceAllString(commit, ".")
		}
		v.rpm = v.deb
		return v, nil
	}
	m := described.FindStringSubmatch(version)
	if m == nil {
		return versions{}, fmt.Errorf("version %q: want 1.2.3, 1.2.3-rc1 or what git describe makes of such a tag: packages are compared by their versions", version)
	}
	number, before, nth, commits, hash, dirty := m[1], m[2], m[3], m[4], m[5], m[6]
	v := versions{deb: number, apk: number}
	if before != "" {
		v.deb += "~" + before + nth
		v.apk += "_" + before + nth
	}
	if commits != "" {
		v.deb += "+" + commits + ".g" + hash
		v.apk += "_p" + commits
	}
	if dirty != "" {
		v.deb += "+dirty"
		v.apk += "_p0" // a version of apk's has no room for the word
	}
	v.rpm = v.deb
	return v, nil
}
