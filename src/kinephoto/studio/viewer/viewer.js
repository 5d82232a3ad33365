"use strict";
// Shows the scene that the page carries. Axes of the data: x right, y down, z forward; of three.js: y up, z backwards.
(() => {
  const element = (id) => document.getElementById(id);
  const canvas = element("view"), hint = element("hint"), tilt = element("tilt");
  const scene = JSON.parse(element("scene").textContent);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const byHand = matchMedia("(hover: none)").matches;
  const EASE_S = 0.18; // how fast the camera follows
  const KEY_STEP = 0.25;
  const TILT_DEG = 18; // this far is all the way

  // Each of x, y is from -1 to 1: the camera's place, inside an ellipse, and which part of the photo is seen
  // where the window has another shape.
  const wanted = { x: 0, y: 0, u: 0, v: 0 }, now = { ...wanted };
  let touched = false, started = null, last = null, overflow = { u: 0, v: 0 };

  const clamp = (value) => Math.min(1, Math.max(-1, value));

  function look(x, y) {
    wanted.u = clamp(x);
    wanted.v = clamp(y);
    const far = Math.max(1, Math.hypot(wanted.u, wanted.v));
    wanted.x = wanted.u / far;
    wanted.y = wanted.v / far;
  }

  function take() {
    if (!touched) hint.classList.add("over");
    touched = true;
  }

  // ---- geometry: planes of bytes, differences of whole numbers

  async function integers() {
    const packed = Uint8Array.from(atob(element("geometry").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer()), count = bytes.length / 4;
    const values = new Int32Array(count);
    for (let i = 0; i < count; i++)
      values[i] = bytes[i] | (bytes[count + i] << 8) | (bytes[2 * count + i] << 16) | (bytes[3 * count + i] << 24);
    return values;
  }

  function reader(values) {
    let first = 0;
    return (count) => {
      const part = values.subarray(first, first + count);
      for (let i = 1; i < count; i++) part[i] += part[i - 1];
      first += count;
      return part;
    };
  }

  function geometryOf(sheet, next) {
    const n = sheet.vertices;
    const column = next(n), row = next(n), right = next(n), down = next(n), level = next(n), corner = next(3 * sheet.triangles);
    const place = new Float32Array(3 * n), uv = new Float32Array(2 * n);
    const [low, high] = sheet.disparity, [left, top, width, height] = sheet.box, m = sheet.world_from_layer;
    for (let i = 0; i < n; i++) {
      const z = 1 / (low + ((high - low) * level[i]) / 65535);
      const x = ((column[i] - sheet.centre_px[0]) / sheet.focal_px) * z;
      const y = ((row[i] - sheet.centre_px[1]) / sheet.focal_px) * z;
      place[3 * i] = m[0] * x + m[1] * y + m[2] * z + m[3];
      place[3 * i + 1] = -(m[4] * x + m[5] * y + m[6] * z + m[7]);
      place[3 * i + 2] = -(m[8] * x + m[9] * y + m[10] * z + m[11]);
      uv[2 * i] = (column[i] + right[i] / 6 - left) / width;
      uv[2 * i + 1] = (row[i] + down[i] / 6 - top) / height;
    }
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(place, 3));
    geometry.setAttribute("uv", new THREE.BufferAttribute(uv, 2));
    const flipped = new Uint32Array(3 * sheet.triangles); // clockwise in the data, counterclockwise in three.js
    for (let i = 0; i < flipped.length; i += 3) {
      flipped[i] = corner[i];
      flipped[i + 1] = corner[i + 2];
      flipped[i + 2] = corner[i + 1];
    }
    geometry.setIndex(new THREE.BufferAttribute(flipped, 1));
    return geometry;
  }

  async function materialOf(image, renderer) {
    await image.decode();
    // A bitmap, since the size of an image element is that of its place on the page.
    const map = new THREE.Texture(await createImageBitmap(image));
    map.flipY = false;
    map.colorSpace = THREE.SRGBColorSpace;
    map.minFilter = THREE.LinearMipmapLinearFilter;
    map.anisotropy = Math.min(4, renderer.capabilities.getMaxAnisotropy());
    map.needsUpdate = true;
    return new THREE.MeshBasicMaterial({ map, toneMapped: false });
  }

  // ---- camera: it moves to the side while the lens shifts against it, so that the focus stays where it is

  function aim(camera) {
    const [height, width] = scene.hw, [cx, cy] = scene.centre_px, f = scene.focal_px;
    const aspect = innerWidth / innerHeight, zoom = scene.zoom;
    const w = Math.min(width, height * aspect) / zoom, h = w / aspect;
    overflow = { u: Math.max(0, width / zoom - w) / 2, v: Math.max(0, height / zoom - h) / 2 };
    const x = now.x * scene.reach[0], y = now.y * scene.reach[1], shift = f * scene.focus_disparity;
    const left = width / 2 - w / 2 + now.u * overflow.u - cx - shift * x;
    const top = height / 2 - h / 2 + now.v * overflow.v - cy - shift * y;
    const k = scene.near / f;
    camera.projectionMatrix.makePerspective(left * k, (left + w) * k, -top * k, -(top + h) * k, scene.near, scene.far);
    camera.position.set(x, -y, 0);
  }

  function wander(seconds) {
    const gently = Math.min(1, seconds / 3), turn = 2 * Math.PI * seconds;
    wanted.x = 0.75 * gently * Math.sin(turn / 7);
    wanted.y = 0.55 * gently * Math.sin(turn / 11);
    wanted.u = 0.6 * gently * Math.sin(turn / 28);
    wanted.v = 0.6 * gently * Math.sin(turn / 28);
  }

  function follow(seconds) {
    const share = calm.matches ? 1 : 1 - Math.exp(-seconds / EASE_S);
    let moved = 0;
    for (const axis of Object.keys(now)) {
      const step = (wanted[axis] - now[axis]) * share;
      moved = Math.max(moved, Math.abs(step));
      now[axis] += step;
    }
    return moved > 1e-4;
  }

  // ---- what people do

  function listen() {
    let grip = null, level = null;
    const half = () => Math.min(innerWidth, innerHeight) / 2;
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse" && !grip) {
        take();
        look((2 * event.clientX) / innerWidth - 1, (2 * event.clientY) / innerHeight - 1);
      } else if (grip && event.pointerId === grip.id) {
        look(grip.u - (event.clientX - grip.x) / half(), grip.v - (event.clientY - grip.y) / half());
      }
    });
    canvas.addEventListener("pointerdown", (event) => {
      take();
      if (event.pointerType === "mouse") return;
      canvas.setPointerCapture(event.pointerId);
      grip = { id: event.pointerId, x: event.clientX, y: event.clientY, u: wanted.u, v: wanted.v };
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (grip = null));
    document.documentElement.addEventListener("mouseleave", () => touched && look(0, 0));
    addEventListener("keydown", (event) => {
      const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] || [];
      if (x === undefined && event.key !== "Home" && event.key !== "Escape") return;
      take();
      if (x === undefined) look(0, 0);
      else look(wanted.u + KEY_STEP * x, wanted.v + KEY_STEP * y);
      event.preventDefault();
    });
    addEventListener("deviceorientation", (event) => {
      if (event.gamma === null || grip) return;
      const turned = (screen.orientation && screen.orientation.angle) || 0;
      const { beta, gamma } = event;
      const [x, y] = { 90: [beta, -gamma], 180: [-gamma, -beta], 270: [-beta, gamma] }[turned] || [gamma, beta];
      if (!level || Math.hypot(x - level.x, y - level.y) > 3 * TILT_DEG) level = { x, y }; // held in another way
      const [u, v] = [(x - level.x) / TILT_DEG, (y - level.y) / TILT_DEG];
      if (!touched && Math.hypot(u, v) < 0.15) return;
      take();
      look(u, v);
    });
  }

  function offerTilt() {
    const ask = window.DeviceOrientationEvent && DeviceOrientationEvent.requestPermission;
    if (!ask || !byHand) return; // only Apple's phones want to be asked, and only after a tap
    tilt.hidden = false;
    tilt.addEventListener("click", () => {
      tilt.hidden = true;
      ask.call(DeviceOrientationEvent).catch(() => {});
    });
    addEventListener("deviceorientation", (event) => (tilt.hidden ||= event.gamma !== null));
  }

  async function start() {
    const renderer = new THREE.WebGLRenderer({ canvas, antialias: true });
    renderer.setClearColor(0x0b0c0e);
    const stage = new THREE.Scene(), camera = new THREE.PerspectiveCamera();
    const next = reader(await integers()), images = [element("photo"), ...document.querySelectorAll("img.texture")];
    for (const [index, sheet] of scene.sheets.entries()) {
      const mesh = new THREE.Mesh(geometryOf(sheet, next), await materialOf(images[index], renderer));
      mesh.frustumCulled = false;
      stage.add(mesh);
    }
    let fitted = true;
    const fit = () => {
      renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
      renderer.setSize(innerWidth, innerHeight, false);
      fitted = true;
    };
    addEventListener("resize", fit);
    fit();
    const frame = (time) => {
      requestAnimationFrame(frame);
      const seconds = last === null ? 0 : Math.min(0.1, (time - last) / 1000);
      last = time;
      if (!touched && !calm.matches) wander((started = (started || 0) + seconds));
      if (!follow(seconds) && !fitted) return;
      fitted = false;
      aim(camera);
      renderer.render(stage, camera);
      document.documentElement.className = "ready";
    };
    requestAnimationFrame(frame);
  }

  listen();
  offerTilt();
  if (!byHand) hint.textContent = "Move the mouse, or press the arrow keys";
  else hint.textContent = tilt.hidden ? "Drag, or tilt the phone" : "Drag to look around";
  start().catch((error) => {
    hint.textContent = "This browser shows the photo, but cannot move in it";
    console.warn(error);
  });
})();
